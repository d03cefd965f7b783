import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.health import ASIDE_S, REST_S, Health, Standing

HALF = 0.5
"""The chance that leaves a pause as long as it is."""


@pytest.fixture
def news() -> list[tuple[int, str]]:
    return []


@pytest.fixture
def health(news: list[tuple[int, str]]) -> Health:
    return Health(3, lambda: HALF, lambda server, said: news.append((server, said)))


def break_three(health: Health, server: int = 0, work: str = "w", now: float = 0.0) -> None:
    for number in range(3):
        health.failed_in_node(server, work, f"job {server} {number}", "8", now + number)


class TestRest:
    def test_pauses_double_up_to_a_minute(self, health: Health, news: list[tuple[int, str]]) -> None:
        now = 0.0
        for _ in range(8):
            health.unanswered(0, "it refuses the connection", now)
            now += 60
            health.answered(0)

        assert [said for _, said in news if "rests" in said] == [
            f"rests for {pause:.1f} s: it refuses the connection" for pause in (1, 2, 4, 8, 16, 32, 60, 60)
        ]

    def test_one_failure_seen_by_many_calls_is_one(self, health: Health, news: list[tuple[int, str]]) -> None:
        for _ in range(16):
            health.unanswered(1, "silent", 0.5)

        assert news == [(1, "rests for 1.0 s: silent")]

    def test_it_is_worth_a_question_when_the_pause_is_over(self, health: Health) -> None:
        health.unanswered(0, "", 10)

        assert [health.is_rested(0, now) for now in (10, 10.9, 11)] == [False, False, True]
        assert not health.is_rested(1, 99)

    def test_answer_ends_the_rest_and_is_told_once(self, health: Health, news: list[tuple[int, str]]) -> None:
        health.unanswered(0, "x", 0)
        assert health.standing(0) is Standing.RESTING

        health.answered(0)
        health.answered(0)

        assert health.standing(0) is Standing.HEALTHY
        assert news == [(0, "rests for 1.0 s: x"), (0, "is back")]

    def test_job_that_was_taken_makes_the_next_pause_short(self, health: Health, news: list[tuple[int, str]]) -> None:
        for now in (0, 2, 6):
            health.unanswered(0, "x", now)
        health.accepted(0, "w", "m")

        health.unanswered(0, "x", 20)

        assert news[-1] == (0, "rests for 1.0 s: x")

    def test_failure_long_after_the_last_is_a_first_one(self, health: Health, news: list[tuple[int, str]]) -> None:
        for now in (0, 2, 6):
            health.unanswered(0, "x", now)
        health.answered(0)

        health.unanswered(0, "x", 10 + REST_S[1] + 1)

        assert news[-1] == (0, "rests for 1.0 s: x")

    @given(st.floats(0, 1))
    def test_jitter_is_a_fifth(self, chance: float) -> None:
        health = Health(1, lambda: chance, lambda _, __: None)
        health.unanswered(0, "", 0)

        assert not health.is_rested(0, 0.79)
        assert health.is_rested(0, 1.21)


class TestSickGpu:
    def test_three_failures_of_what_succeeds_elsewhere_set_it_aside(
        self, health: Health, news: list[tuple[int, str]]
    ) -> None:
        break_three(health)
        assert health.standing(0) is Standing.HEALTHY

        health.succeeded(1, "w", 3)

        assert health.standing(0) is Standing.ASIDE
        assert news == [(0, "set aside for 30 s: its last three jobs failed in nodes")]

    def test_success_between_the_failures_counts(self, health: Health) -> None:
        health.failed_in_node(0, "w", "a", "8", 1)
        health.succeeded(1, "w", 2)
        health.failed_in_node(0, "w", "b", "8", 3)
        health.failed_in_node(0, "w", "c", "8", 4)

        assert health.standing(0) is Standing.ASIDE

    def test_success_before_the_first_failure_proves_nothing(self, health: Health) -> None:
        health.succeeded(1, "w", 0)
        break_three(health, now=1)

        assert health.standing(0) is Standing.HEALTHY

    def test_success_of_other_work_proves_nothing(self, health: Health) -> None:
        break_three(health, work="broken graph")
        health.succeeded(1, "w", 3)

        assert health.standing(0) is Standing.HEALTHY

    def test_its_own_success_in_between_forgives(self, health: Health) -> None:
        health.failed_in_node(0, "w", "a", "8", 1)
        health.failed_in_node(0, "w", "b", "8", 2)
        health.succeeded(0, "w", 3)
        health.failed_in_node(0, "w", "c", "8", 4)
        health.succeeded(1, "w", 5)

        assert health.standing(0) is Standing.HEALTHY

    def test_jobs_that_fail_everywhere_in_the_same_node_are_nobodys_fault(self, health: Health) -> None:
        for number in range(5):
            health.failed_in_node(0, "w", f"{number}", "8", number)
            health.failed_in_node(1, "w", f"{number}", "8", number)
        health.succeeded(2, "w", 9)

        assert [health.standing(server) for server in range(3)] == [Standing.HEALTHY] * 3

    def test_second_try_that_fails_in_another_node_excuses_nobody(self, health: Health) -> None:
        for number in range(3):
            health.failed_in_node(0, "w", f"{number}", "8", number)
            health.failed_in_node(1, "w", f"{number}", "3", number)
        health.succeeded(2, "w", 9)

        assert [health.standing(server) for server in range(2)] == [Standing.ASIDE] * 2

    def test_trial_comes_after_growing_pauses_and_for_one_call(self, health: Health) -> None:
        break_three(health)
        health.succeeded(1, "w", 3)

        assert health.trial([0, 1, 2], "w", 32.9) is None
        assert [health.trial([0, 1, 2], "w", 33) for _ in range(3)] == [0, None, None]
        assert [health.trial([0, 1, 2], "w", now) for now in (92.9, 93)] == [None, 0]
        assert health.trial([1, 2], "w", 1e6) is None

    def test_work_that_it_lacks_something_for_is_no_trial(self, health: Health) -> None:
        break_three(health)
        health.succeeded(1, "w", 3)
        health.refused(0, "v", 33)

        assert [health.trial([0], work, 34) for work in ("v", "w")] == [None, 0]

    def test_success_of_the_trial_brings_it_back(self, health: Health, news: list[tuple[int, str]]) -> None:
        break_three(health)
        health.succeeded(1, "w", 3)

        health.succeeded(0, "w", 40)

        assert health.standing(0) is Standing.HEALTHY
        assert news[-1] == (0, "is back: a job succeeded")

    def test_one_that_is_set_aside_and_then_silent_is_still_aside_when_it_answers(self, health: Health) -> None:
        break_three(health)
        health.succeeded(1, "w", 3)
        health.unanswered(0, "x", 4)
        assert health.standing(0) is Standing.RESTING

        health.answered(0)

        assert health.standing(0) is Standing.ASIDE

    def test_longest_pause(self, health: Health) -> None:
        break_three(health)
        health.succeeded(1, "w", 3)
        now = 3.0
        trials: list[float] = []
        while len(trials) < 10:
            now += 1
            if health.trial([0], "w", now) is not None:
                trials.append(now)

        assert trials[-1] - trials[-2] == ASIDE_S[1]


class TestChoice:
    @pytest.mark.parametrize(
        ("loads", "first"),
        [({0: 0, 1: 0, 2: 0}, 0), ({0: 2, 1: 1, 2: 1}, 1), ({0: 3, 1: 2, 2: 0}, 2), ({2: 5}, 2)],
    )
    def test_least_busy_comes_first(self, loads: dict[int, int], first: int, health: Health) -> None:
        assert health.best(loads, "w", 0) == first

    @pytest.mark.parametrize(("load", "first"), [(0, 2), (1, 2), (2, 0)])
    def test_loaded_model_weighs_one_job(self, load: int, first: int, health: Health) -> None:
        health.accepted(2, "w", "sdxl")

        assert health.best({0: 0, 1: 0, 2: load}, "w", 0) == first

    def test_other_work_with_the_same_model_finds_it_too(self, health: Health) -> None:
        health.accepted(0, "upscale", "sdxl")
        health.accepted(2, "w", "sdxl")
        health.accepted(0, "v", "flux")

        assert health.best({0: 0, 1: 0, 2: 0}, "upscale", 0) == 2
        assert health.best({0: 0, 1: 0, 2: 0}, "v", 0) == 0

    def test_one_that_lacked_something_comes_later_for_a_minute(self, health: Health) -> None:
        health.refused(0, "w", 0)

        assert [health.best({0: 0, 1: 9}, "w", now) for now in (0, 59, 60)] == [1, 1, 0]
        assert health.best({0: 0, 1: 9}, "v", 0) == 0

    def test_one_that_took_the_work_lacks_nothing_any_more(self, health: Health) -> None:
        health.refused(0, "w", 0)
        health.accepted(0, "w", "m")

        assert health.best({0: 0, 1: 0}, "w", 1) == 0

    def test_health_counts_more_than_what_it_lacks_and_its_queue(self, health: Health) -> None:
        health.refused(2, "w", 0)
        health.unanswered(0, "x", 0)
        break_three(health, server=1)
        health.succeeded(2, "w", 3)

        loads = {0: 0, 1: 1, 2: 50}
        order = []
        while loads:
            order.append(health.best(loads, "w", 4))
            del loads[order[-1]]
        assert order == [2, 1, 0]

    def test_only_the_latest_kinds_of_work_are_remembered(self, health: Health) -> None:
        for number in range(1000):
            health.refused(0, f"{number}", 0)

        assert health.best({0: 0, 1: 0}, "0", 1) == 0
        assert health.best({0: 0, 1: 0}, "999", 1) == 1


_SERVER = st.integers(0, 2)
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("answered", "unanswered", "refused", "accepted", "succeeded", "failed", "trial")),
        _SERVER,
        st.sampled_from(("v", "w")),
        st.sampled_from(("a", "b", "c", "d")),
        st.floats(0, 50),
    ),
    max_size=40,
)


def after(events: list[tuple[str, int, str, str, float]]) -> tuple[Health, float]:
    health, now = Health(3, lambda: HALF, lambda _, __: None), 0.0
    for name, server, work, wish, passed in events:
        now += passed
        match name:
            case "answered":
                health.answered(server)
            case "unanswered":
                health.unanswered(server, "x", now)
            case "refused":
                health.refused(server, work, now)
            case "accepted":
                health.accepted(server, work, wish)
            case "succeeded":
                health.succeeded(server, work, now)
            case "failed":
                health.failed_in_node(server, work, wish, "8", now)
            case "trial":
                health.trial(range(3), "w", now)
    return health, now


class TestInvariants:
    @given(_EVENTS, st.dictionaries(_SERVER, st.integers(0, 5), min_size=1))
    def test_some_server_is_always_offered_and_a_healthier_one_first(
        self, events: list[tuple[str, int, str, str, float]], loads: dict[int, int]
    ) -> None:
        health, now = after(events)

        first = health.best(loads, "w", now)

        assert first in loads
        assert health.standing(first) == min(health.standing(server) for server in loads)

    @given(_EVENTS)
    def test_every_server_comes_back(self, events: list[tuple[str, int, str, str, float]]) -> None:
        health, now = after(events)
        longest = max(REST_S[1], ASIDE_S[1]) * 1.2
        later = now

        # Twice: what succeeds on one may set aside another, whose jobs of that kind failed.
        for server in (*range(3), *range(3)):
            later += longest
            if health.is_rested(server, later):
                health.answered(server)
            if health.standing(server) is Standing.ASIDE:
                assert health.trial([server], "w", later) == server
                health.succeeded(server, "w", later)

        assert {health.standing(server) for server in range(3)} == {Standing.HEALTHY}

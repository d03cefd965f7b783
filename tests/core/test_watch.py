import pytest

from comfybridge.messages import Disconnected, Ended, Progress, QueueSize, Started
from comfybridge.watch import Waiting, Watch

ID = "p1"


@pytest.fixture
def watch() -> Watch:
    return Watch(looked=100.0)


class TestDue:
    def test_hearing_socket_is_backed_by_a_look_every_fifteen_seconds(self, watch: Watch) -> None:
        assert watch.due(hears=True) == 115.0

    def test_without_a_socket_looks_start_quick_and_slow_down_to_five_seconds(self, watch: Watch) -> None:
        pauses = []
        for _ in range(12):
            now = watch.due(hears=False)
            pauses.append(now - watch.looked)
            watch.look(now)
            watch.is_nowhere(known=True)

        assert pauses[:3] == pytest.approx([0.25, 0.375, 0.5625])
        assert pauses[-1] == pytest.approx(5.0)

    def test_announced_end_is_looked_at_now_and_then_soon(self, watch: Watch) -> None:
        watch.hear(Ended(ID), 103.0)
        first = watch.due(hears=True)
        history_first = watch.look(103.0)
        watch.is_nowhere(known=True)

        assert first <= 103.0
        assert history_first
        assert watch.due(hears=True) == pytest.approx(103.075)

    def test_lost_socket_is_followed_by_a_look_now(self, watch: Watch) -> None:
        watch.hear(Disconnected(), 103.0)

        assert watch.due(hears=False) <= 103.0
        assert not watch.look(103.0)


class TestEmptyQueue:
    def test_queue_that_stays_empty_is_looked_at_once_by_the_history(self, watch: Watch) -> None:
        watch.hear(QueueSize(0), 103.0)
        due = watch.due(hears=True)
        history_first = watch.look(due)
        watch.is_nowhere(known=True)

        assert due == pytest.approx(103.1)
        assert history_first
        assert watch.due(hears=True) == pytest.approx(118.1)

    def test_queue_that_fills_again_needs_no_look(self, watch: Watch) -> None:
        watch.hear(QueueSize(0), 103.0)
        watch.hear(QueueSize(1), 103.01)

        assert watch.due(hears=True) == 115.0


class TestPlace:
    def test_place_only_comes_down(self, watch: Watch) -> None:
        heard = [watch.hear(QueueSize(size), 101.0) for size in (3, 4, 3, 2, 1)]

        assert heard == [Waiting(2), None, None, Waiting(1), Waiting(0)]

    def test_place_is_of_no_interest_once_the_job_runs(self, watch: Watch) -> None:
        watch.hear(Started(ID), 101.0)

        assert watch.hear(QueueSize(5), 101.1) is None

    def test_steps_are_handed_on(self, watch: Watch) -> None:
        step = Progress(ID, "3", 1, 4)

        assert watch.hear(step, 101.0) == step


class TestNowhere:
    def test_once_is_not_enough(self, watch: Watch) -> None:
        watch.look(101.0)

        assert not watch.is_nowhere(known=False)
        assert watch.due(hears=True) == 102.0

    def test_twice_a_grace_time_apart_is(self, watch: Watch) -> None:
        watch.look(101.0)
        watch.is_nowhere(known=False)
        watch.look(102.0)

        assert watch.is_nowhere(known=False)

    def test_job_that_was_seen_in_between_starts_over(self, watch: Watch) -> None:
        for now, known in ((101.0, False), (102.0, True), (103.0, False)):
            watch.look(now)
            assert not watch.is_nowhere(known=known)


class TestGone:
    def test_server_that_refuses_for_half_a_minute_is_gone(self, watch: Watch) -> None:
        gone = []
        for now in (101.0, 116.0, 131.0, 131.1):
            watch.look(now)
            gone.append(watch.is_gone(refused=True))

        assert gone == [False, False, False, True]

    def test_silence_is_no_refusal(self, watch: Watch) -> None:
        for now, refused in ((101.0, True), (120.0, False), (140.0, True)):
            watch.look(now)
            assert not watch.is_gone(refused=refused)

    def test_answer_in_between_starts_over(self, watch: Watch) -> None:
        watch.look(101.0)
        watch.is_gone(refused=True)
        watch.look(120.0)
        watch.is_nowhere(known=True)
        watch.look(140.0)

        assert not watch.is_gone(refused=True)

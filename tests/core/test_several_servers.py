"""Several servers behind one pool, over real sockets: which one gets a job, and what becomes of sick ones."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfybridge import client as client_module
from comfybridge import collecting, generation
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Failed, NodeError, TimedOut, Unavailable
from comfybridge.filling import Inputs
from comfybridge.idempotency import Key
from comfybridge.library import Named
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Delay, NodeFailure, OutOfMemory, Respond
from tests.core.making import Connect, Made, make, sort
from tests.core.raw_server import RawServer, closed_port

MODELS = ("sd15", "sdxl", "z-image-turbo")
"""A new one each time, so that no server is preferred because it has it loaded."""
INPUTS = Inputs(positive="a fox", width=64, height=64, steps=2)


class Clock:
    """A monotonic clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def other() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def pool(comfyui: Simulator, other: Simulator, connect: Connect, clock: Clock) -> Pool:
    return Pool([connect(comfyui.url), connect(other.url)], clock=clock, chance=lambda: 0.5)


@pytest.fixture
def news(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the pool has logged so far."""
    caplog.set_level(logging.INFO, "comfybridge.pool")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "comfybridge.pool"]


def order(pool: Pool, deadline: Deadline) -> list[str]:
    return [client.base_url for client in pool.candidates(deadline)]


def until(is_so: Callable[[], bool]) -> None:
    """What happens in a thread of its own is waited for."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def server_of(made: Made) -> str:
    assert made.outcome is not None
    return made.outcome.jobs[0].client.base_url


def fails(pool: Pool, **wishes: Any) -> ComfyError:
    with pytest.raises(ComfyError) as raised:
        make(pool, **wishes)
    return raised.value


class TestRest:
    def test_killed_server_rests_and_comes_back_by_itself(
        self,
        comfyui: Simulator,
        other: Simulator,
        pool: Pool,
        clock: Clock,
        deadline: Deadline,
        news: Callable[[], list[str]],
    ) -> None:
        comfyui.stop()
        assert order(pool, deadline) == [other.url]
        comfyui.start()
        clock.passes(0.9)
        assert order(pool, deadline)[0] == other.url

        clock.passes(0.2)
        until(lambda: order(pool, deadline)[0] == comfyui.url)

        assert news()[0].startswith(f"server {comfyui.url} rests for 1.0 s: ComfyUI at {comfyui.url} refuses")
        assert news()[1:] == [f"server {comfyui.url} is back"]

    def test_resting_server_is_not_asked_while_another_takes_the_job(
        self, comfyui: Simulator, other: Simulator, pool: Pool, clock: Clock
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="GET", status=503))
        for _ in range(3):
            clock.passes(0.3)
            assert server_of(make(pool)) == other.url

        assert comfyui.count("GET", "/prompt") == 1

    def test_resting_server_is_asked_when_nobody_else_is_left(
        self,
        comfyui: Simulator,
        other: Simulator,
        pool: Pool,
        clock: Clock,
        deadline: Deadline,
        news: Callable[[], list[str]],
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="GET", status=503), times=2)
        assert order(pool, deadline) == [other.url]
        clock.passes(1.1)
        assert order(pool, deadline) == [other.url]
        assert "rests for 2.0 s" in news()[-1]
        other.stop()
        clock.passes(1.1)

        assert server_of(make(pool)) == comfyui.url

    def test_server_that_answers_but_takes_no_job_rests_ever_longer(
        self,
        comfyui: Simulator,
        other: Simulator,
        pool: Pool,
        clock: Clock,
        deadline: Deadline,
        news: Callable[[], list[str]],
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=500))
        for name in MODELS:
            assert server_of(make(pool, name=name)) == other.url
            clock.passes(5)
            order(pool, deadline)
            until(lambda: news()[-1].endswith("is back"))

        assert [line.split(": ")[0].partition(" rests ")[2] for line in news()[::2]] == [
            "for 1.0 s",
            "for 2.0 s",
            "for 4.0 s",
        ]

    def test_frozen_server_takes_the_time_of_one_call_only(
        self, comfyui: Simulator, connect: Connect, clock: Clock
    ) -> None:
        # Its silence takes longer than an answer counts as fresh.
        with RawServer(lambda _: clock.passes(2.0)) as frozen:
            pool = Pool([connect(frozen.url), connect(comfyui.url)], chance=lambda: 0.5, clock=clock)
            make(pool)
            assert len(frozen.requests) == 1

            for _ in range(3):
                clock.passes(0.3)
                make(pool)

            assert len(frozen.requests) == 1

    def test_two_frozen_servers_take_no_longer_than_one(self, comfyui: Simulator, connect: Connect) -> None:
        asked: list[float] = []
        with (
            RawServer(lambda _: asked.append(time.monotonic())) as one,
            RawServer(lambda _: asked.append(time.monotonic())) as two,
        ):
            assert server_of(make([connect(one.url), connect(two.url), connect(comfyui.url)])) == comfyui.url

        # One after the other, the second would be asked when the first has been silent for 2 s.
        first, second = asked
        assert second - first < 1.9

    def test_call_without_time_left_blames_nobody_and_asks_nobody_else(
        self, comfyui: Simulator, other: Simulator, pool: Pool, deadline: Deadline, news: Callable[[], list[str]]
    ) -> None:
        comfyui.inject(Delay(path="/object_info/*", seconds=5), times=1)
        assert isinstance(fails(pool, timeout_s=0.5), Unavailable)

        assert news() == []
        assert other.count("POST", "/prompt") == 0
        assert comfyui.url in order(pool, deadline)


class TestParallelCalls:
    def test_sixteen_calls_ask_three_servers_once_each_and_share_them(
        self, comfyui: Simulator, other: Simulator, connect: Connect, clock: Clock
    ) -> None:
        with Simulator() as third:
            servers = (comfyui, other, third)
            pool = Pool([connect(server.url) for server in servers], clock=clock)

            with ThreadPoolExecutor(16) as threads:
                made = list(threads.map(lambda seed: make(pool, seed=seed, timeout_s=60), range(16)))

            assert all(len(each.files) == 1 for each in made)
            assert [server.count("GET", "/prompt") for server in servers] == [1, 1, 1]
            jobs = [server.count("POST", "/prompt") for server in servers]
            assert sum(jobs) == 16
            assert min(jobs) >= 4

    def test_answers_are_asked_for_again_after_a_second(
        self, comfyui: Simulator, pool: Pool, clock: Clock, deadline: Deadline
    ) -> None:
        for passed in (0.0, 0.9, 0.2):
            clock.passes(passed)
            order(pool, deadline)

        assert comfyui.count("GET", "/prompt") == 2


class TestFit:
    def test_server_that_ran_the_model_last_gets_it_again(self, connect: Connect, clock: Clock) -> None:
        with Simulator() as one, Simulator() as two:
            pool = Pool([connect(one.url), connect(two.url)], clock=clock)
            first = [server_of(make(pool, name=name)) for name in ("sd15", "sdxl")]
            clock.passes(2)

            again = [server_of(make(pool, name=name)) for name in ("sdxl", "sdxl", "sd15")]

        assert first == [one.url, two.url]
        assert again == [two.url, two.url, one.url]

    def test_server_without_the_model_is_asked_after_those_that_have_it(self, connect: Connect, clock: Clock) -> None:
        with Simulator(models=["sd15"]) as small, Simulator(models=["sdxl"]) as large:
            pool = Pool([connect(small.url), connect(large.url)], clock=clock)
            make(pool, name="sdxl")
            clock.passes(2)
            before = len(small.requests)

            make(pool, name="sdxl")

            assert [request.path for request in small.requests[before:]] == ["/prompt"]

    def test_model_installed_a_moment_ago_is_found_where_only_it_is(
        self, connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "_JUST_NOW_S", 0.0)
        with Simulator(models=["sd15"]) as small, Simulator(models=["sd15"]) as before:
            pool = Pool([connect(small.url), connect(before.url)], clock=clock)
            assert fails(pool, name="sdxl").outcome == "rejected"
            port = int(before.url.rpartition(":")[2])
            before.stop()
            with Simulator(models=["sdxl"], port=port) as after:
                clock.passes(2)
                assert server_of(make(pool, name="sdxl")) == after.url


class TestSecondTry:
    def test_job_that_failed_in_a_node_is_made_elsewhere(
        self, comfyui: Simulator, other: Simulator, pool: Pool
    ) -> None:
        comfyui.inject(NodeFailure("8"))

        made = make(pool, seed=7)

        assert server_of(made) == other.url
        (first,), (second,) = (each.received("POST", "/prompt") for each in (comfyui, other))
        assert first.body["prompt"]["3"] == second.body["prompt"]["3"]
        assert made.outcome is not None
        assert made.outcome.jobs[0].prompt_id == second.body["prompt_id"]

    def test_failure_that_is_told_is_the_first(self, comfyui: Simulator, other: Simulator, pool: Pool) -> None:
        comfyui.inject(NodeFailure("8", message="first"))
        other.inject(NodeFailure("3", message="second"))

        error = fails(pool)

        assert isinstance(error, NodeError)
        assert str(error).endswith("failed: first")
        assert (error.server, error.prompt_id) == (comfyui.url, next(iter(comfyui.history)))
        assert other.count("POST", "/prompt") == comfyui.count("POST", "/prompt") == 1

    def test_failure_that_is_told_is_the_first_when_the_second_runs_out_of_memory(
        self, comfyui: Simulator, other: Simulator, pool: Pool
    ) -> None:
        comfyui.inject(NodeFailure("8", message="first"))
        other.inject(OutOfMemory())

        assert str(fails(pool)).endswith("failed: first")

    def test_second_try_that_is_late_goes_on(self, comfyui: Simulator, other: Simulator, pool: Pool) -> None:
        comfyui.inject(NodeFailure("8"))
        other.hold()

        error = fails(pool, timeout_s=4)

        assert isinstance(error, TimedOut)
        assert (error.server, [error.prompt_id]) == (other.url, other.running)

    def test_second_try_that_is_late_is_taken_back_where_it_shall_not_go_on(
        self, comfyui: Simulator, other: Simulator, pool: Pool
    ) -> None:
        comfyui.inject(NodeFailure("8"))
        other.hold()

        with pytest.raises(TimedOut):
            list(generation.generate(Named("sd15"), INPUTS, pool, deadline=Deadline(4), extra_data={}, keeps_on=False))

        other.wait_for("idle")
        assert len(other.history) == 1

    def test_server_that_lacks_the_model_gets_no_second_try(
        self, comfyui: Simulator, connect: Connect, clock: Clock
    ) -> None:
        comfyui.inject(NodeFailure("8"))
        with Simulator(models=["sdxl"]) as large:
            error = fails(Pool([connect(comfyui.url), connect(large.url)], clock=clock))

            assert isinstance(error, NodeError)
            assert large.count("POST", "/prompt") == 0

    def test_dead_server_gets_no_second_try(self, comfyui: Simulator, connect: Connect) -> None:
        comfyui.inject(NodeFailure("8"))
        with closed_port() as url:
            error = fails(Pool([connect(comfyui.url), connect(url)]))

        assert error.server == comfyui.url

    def test_repeatable_call_stays_where_its_key_is(self, comfyui: Simulator, other: Simulator, pool: Pool) -> None:
        comfyui.inject(NodeFailure("8"))

        with pytest.raises(Failed):
            list(
                generation.generate(
                    Named("sd15"), INPUTS, pool, deadline=Deadline(10), extra_data={}, key=Key("k", "w")
                )
            )

        assert other.count("POST", "/prompt") == 0

    def test_out_of_memory_is_tried_where_it_was(self, comfyui: Simulator, other: Simulator, pool: Pool) -> None:
        comfyui.inject(OutOfMemory(), times=1)

        assert server_of(make(pool)) == comfyui.url
        assert other.count("POST", "/prompt") == 0


class TestRepeatedCalls:
    KEY = Key("k", "w")

    def generate(self, pool: Pool) -> Made:
        return sort(
            generation.generate(Named("sd15"), INPUTS, pool, deadline=Deadline(20), extra_data={}, key=self.KEY)
        )

    def test_first_call_goes_on_while_a_server_is_down(self, comfyui: Simulator, other: Simulator, pool: Pool) -> None:
        comfyui.stop()

        assert server_of(self.generate(pool)) == other.url

    def test_repeated_call_finds_the_job_while_another_server_is_down(
        self, comfyui: Simulator, other: Simulator, pool: Pool
    ) -> None:
        comfyui.stop()
        first = self.generate(pool)
        comfyui.start()

        again = self.generate(pool)

        assert [file.data for file in again.files] == [file.data for file in first.files]
        assert (comfyui.count("POST", "/prompt"), other.count("POST", "/prompt")) == (0, 1)

    def test_job_of_a_server_that_died_is_made_anew_elsewhere(
        self, comfyui: Simulator, other: Simulator, pool: Pool
    ) -> None:
        assert server_of(self.generate(pool)) == comfyui.url
        comfyui.stop()

        assert server_of(self.generate(pool)) == other.url

    def test_job_may_be_on_a_server_that_is_only_silent(
        self, comfyui: Simulator, other: Simulator, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collecting, "_RECALL_S", 0.5)
        comfyui.inject(Delay("/history/*", seconds=2.0))

        with pytest.raises(Unavailable, match="may be on one that does not"):
            self.generate(pool)
        assert other.count("POST", "/prompt") == 0

    def test_silent_server_counts_beside_one_that_is_down(
        self, comfyui: Simulator, other: Simulator, connect: Connect
    ) -> None:
        comfyui.inject(Respond(path="/history/*", status=403))
        with closed_port() as url:
            pool = Pool([connect(comfyui.url), connect(url), connect(other.url)])

            with pytest.raises(Unavailable, match="may be on one that does not"):
                self.generate(pool)
        assert other.count("POST", "/prompt") == 0


class TestSickGpu:
    def test_server_whose_jobs_fail_and_succeed_elsewhere_is_set_aside_and_tried_later(
        self,
        comfyui: Simulator,
        other: Simulator,
        pool: Pool,
        clock: Clock,
        news: Callable[[], list[str]],
    ) -> None:
        comfyui.inject(NodeFailure("VAEDecode"))
        for name in MODELS:
            clock.passes(2)
            assert server_of(make(pool, name=name)) == other.url
        assert comfyui.count("POST", "/prompt") == 3
        assert news() == [f"server {comfyui.url} set aside for 30 s: its last three jobs failed in nodes"]

        make(pool)
        assert comfyui.count("POST", "/prompt") == 3
        clock.passes(31)
        assert server_of(make(pool)) == other.url
        assert comfyui.count("POST", "/prompt") == 4
        make(pool)
        assert comfyui.count("POST", "/prompt") == 4

        comfyui.heal()
        clock.passes(61)
        assert server_of(make(pool)) == comfyui.url
        assert news()[-1] == f"server {comfyui.url} is back: a job succeeded"

    def test_workflow_that_fails_everywhere_sets_nobody_aside(
        self, comfyui: Simulator, other: Simulator, pool: Pool, clock: Clock, news: Callable[[], list[str]]
    ) -> None:
        comfyui.inject(NodeFailure("8"), times=5)
        other.inject(NodeFailure("8"), times=5)
        for _ in range(5):
            clock.passes(2)
            assert isinstance(fails(pool), NodeError)
        make(pool)

        assert news() == []

    def test_out_of_memory_is_no_sickness(
        self, comfyui: Simulator, pool: Pool, clock: Clock, news: Callable[[], list[str]]
    ) -> None:
        for _ in range(4):
            clock.passes(2)
            comfyui.inject(OutOfMemory(), times=1)
            make(pool)

        assert news() == []

    def test_server_that_was_set_aside_is_used_when_no_other_is_left(
        self, comfyui: Simulator, other: Simulator, pool: Pool, clock: Clock
    ) -> None:
        comfyui.inject(NodeFailure("VAEDecode"), times=3)
        for name in MODELS:
            clock.passes(2)
            make(pool, name=name)
        other.stop()
        clock.passes(2)

        assert server_of(make(pool)) == comfyui.url


class TestEarlierJobs:
    def job(self, client: Client) -> str:
        (job,) = generation.submit(Named("sd15"), INPUTS, Pool([client]), deadline=Deadline(10), extra_data={})
        return job.prompt_id

    def test_job_is_found_beside_a_frozen_and_a_dead_server(self, comfyui: Simulator, connect: Connect) -> None:
        having = connect(comfyui.url)
        prompt_id = self.job(having)
        with RawServer(lambda _: None) as frozen, closed_port() as dead:
            pool = Pool([connect(frozen.url), connect(dead), having])
            started = time.monotonic()

            job = collecting.recall(prompt_id, pool, Deadline(20))

        assert job is not None
        assert job.client is having
        assert time.monotonic() - started < 12

    def test_job_that_only_a_dead_server_can_have_is_not_called_unknown(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        with closed_port() as dead:
            pool = Pool([connect(dead), connect(comfyui.url)])

            with pytest.raises(
                Unavailable, match="on no server that answers, but may be on one that does not"
            ) as raised:
                collecting.recall("nobody", pool, deadline)

        assert raised.value.server == dead
        assert dead in str(raised.value)
        assert "可能在没有应答的服务器上" in raised.value.zh

    def test_frozen_server_is_waited_for_within_the_deadline(self, comfyui: Simulator, connect: Connect) -> None:
        with RawServer(lambda _: None) as frozen:
            started = time.monotonic()
            with pytest.raises(Unavailable, match="may be on one that does not"):
                collecting.recall("nobody", Pool([connect(frozen.url), connect(comfyui.url)]), Deadline(2))

        assert time.monotonic() - started < 7

    def test_job_that_nobody_has_is_unknown(self, pool: Pool, deadline: Deadline) -> None:
        assert collecting.recall("nobody", pool, deadline) is None

    def test_many_are_found_at_once(self, comfyui: Simulator, other: Simulator, connect: Connect) -> None:
        clients = [connect(comfyui.url), connect(other.url)]
        ids = {self.job(clients[number % 2]): clients[number % 2] for number in range(16)}
        pool = Pool(clients)

        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda prompt_id: collecting.recall(prompt_id, pool, Deadline(20)), ids))

        assert [job.client if job is not None else None for job in found] == list(ids.values())

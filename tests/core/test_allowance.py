import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from comfybridge.allowance import Allowance
from comfybridge.errors import Failed, InvalidInput, TimedOut


class Server:
    """Says of jobs whether they are underway, and remembers that it was asked."""

    def __init__(self) -> None:
        self.underway: set[str] = set()
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, prompt_ids: tuple[str, ...]) -> bool:
        self.asked.append(prompt_ids)
        return bool(self.underway & set(prompt_ids))


@pytest.fixture
def server() -> Server:
    return Server()


def test_user_has_so_many_places_and_no_more(server: Server) -> None:
    allowance = Allowance()
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(allowance.place("ann", 2, server))

        with pytest.raises(InvalidInput, match=r"^You already have 2 jobs in the making: wait for one") as raised:
            held.enter_context(allowance.place("ann", 2, server))
        assert raised.value.zh.startswith("你已有 2 个任务")
        held.enter_context(allowance.place("bob", 2, server))

    with allowance.place("ann", 1, server):
        pass


def test_without_a_limit_nothing_is_counted(server: Server) -> None:
    allowance = Allowance()
    with ExitStack() as held:
        for _ in range(9):
            held.enter_context(allowance.place("ann", None, server))

        held.enter_context(allowance.place("ann", 1, server))


@pytest.mark.parametrize("end", [Failed("it broke", "坏了"), KeyError(), GeneratorExit()], ids=repr)
def test_place_is_free_after_every_end(server: Server, end: BaseException) -> None:
    allowance = Allowance()
    with pytest.raises(type(end)), allowance.place("ann", 1, server):
        raise end

    with allowance.place("ann", 1, server):
        pass
    assert server.asked == []


def test_job_that_nobody_waits_for_keeps_its_place_until_it_has_ended(server: Server) -> None:
    allowance = Allowance()
    server.underway = {"p2"}
    with allowance.place("ann", 1, server) as leave:
        leave(("p1", "p2"))

    with pytest.raises(InvalidInput, match="already have 1 job in"), allowance.place("ann", 1, server):
        pass
    assert server.asked == [("p1", "p2")]

    server.underway = set()
    with allowance.place("ann", 1, server):
        pass


def test_servers_are_not_asked_while_there_are_places(server: Server) -> None:
    allowance = Allowance()
    for number in range(2):
        with allowance.place("ann", 3, server) as leave:
            leave((f"p{number}",))

    assert server.asked == []


def test_job_whose_call_timed_out_goes_on_and_counts(server: Server) -> None:
    allowance = Allowance()
    server.underway = {"late"}
    with pytest.raises(TimedOut), allowance.place("ann", 1, server):
        raise TimedOut("not finished", "未完成", prompt_id="late")

    with pytest.raises(InvalidInput), allowance.place("ann", 1, server):
        pass


def test_many_calls_at_once_get_just_the_places_there_are(server: Server) -> None:
    allowance, together, done = Allowance(), threading.Barrier(20), threading.Event()

    def call() -> bool:
        together.wait(10)
        try:
            with allowance.place("ann", 3, server):
                done.wait(10)
        except InvalidInput:
            return False
        return True

    with ThreadPoolExecutor(20) as callers:
        calls = [callers.submit(call) for _ in range(20)]
        while sum(each.done() for each in calls) < 17:
            threading.Event().wait(0.01)
        done.set()

    assert sum(each.result() for each in calls) == 3

"""``make faults``: every scenario, and the crowds, as a table; exit status 1 when one ends wrong."""

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from tests.faults import crowds, secrets, table
from tests.faults.play import End, Result, Scenario, play
from tests.faults.scenarios import all_scenarios
from tests.faults.server import Server, Simulated, connect

_CROWDS: dict[str, Callable[[Server], list[str]]] = {
    "10 lost answers to submissions: one job each": lambda server: crowds.repeat_after_lost_answers(server, 10),
    "500 failing jobs: nothing stays open": lambda server: crowds.fail_often(server, 500),
    "64 jobs at once, a tenth of the connections breaks": lambda server: crowds.crowd(server, 64, 0.1),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("-k", default="", metavar="WORDS", help="only scenarios whose name holds these words")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play everything so often")
    parser.add_argument("--lanes", type=int, default=8, metavar="N", help="simulators at a time (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table into README.md when nothing is wrong")
    options = parser.parse_args()
    if options.write and options.k:
        parser.error("--write takes the whole suite, without -k")
    # What the core logs of broken jobs is for operators: here nobody reads it, but it is searched for secrets.
    secrets.LOGGER.setLevel(logging.DEBUG)
    secrets.LOGGER.addHandler(logging.NullHandler())
    secrets.LOGGER.propagate = False
    started, played, wrong = time.monotonic(), 0, 0
    for _ in range(options.repeat):
        for each in (_play(options.k.lower(), options.lanes), _play_crowds(options.k.lower())):
            played, wrong = played + each[0], wrong + each[1]
    print(f"{played} scenarios, {wrong} wrong, {time.monotonic() - started:.0f} s")
    if options.write and not wrong:
        table.write(all_scenarios())
    return 1 if wrong or not played else 0


def _play(words: str, lanes: int) -> tuple[int, int]:
    """Play the scenarios with these words on several servers at a time; how many, and how many ended wrong."""
    first = connect()
    is_simulated = isinstance(first, Simulated)
    chosen = [each for each in all_scenarios() if words in each.name.lower()]
    if not is_simulated:
        for each in chosen:
            if each.only_simulator:
                print(f"skip   {each.name}: with a real server {each.only_simulator}")
        chosen = [each for each in chosen if not each.only_simulator]
    servers = [first, *(connect() for _ in range(lanes - 1 if is_simulated else 0))] if chosen else []
    todo: SimpleQueue[Scenario] = SimpleQueue()
    # First those that wait for a server to come back: they take the longest.
    for scenario in sorted(chosen, key=lambda each: each.wanted is not End.LOST and "killed" not in each.fault):
        todo.put(scenario)
    results: list[Result] = []
    printing = threading.Lock()

    def lane(server: Server) -> None:
        with server:
            while (scenario := _next(todo)) is not None:
                result = play(scenario, server)
                with printing:
                    _print(result)
                    results.append(result)

    with ThreadPoolExecutor(max(1, len(servers))) as threads:
        for ended in [threads.submit(lane, server) for server in servers]:
            ended.result()
    return len(results), sum(bool(result.wrong) for result in results)


def _play_crowds(words: str) -> tuple[int, int]:
    chosen = {name: act for name, act in _CROWDS.items() if words in name.lower()}
    if not chosen:
        return 0, 0
    wrong = 0
    with connect() as server:
        for name, act in chosen.items():
            started = time.monotonic()
            found = act(server)
            wrong += bool(found)
            print(f"{'WRONG' if found else 'ok':5}  {name:103}  {time.monotonic() - started:6.2f} s", flush=True)
            for each in found:
                print(f"       {each}", flush=True)
    return len(chosen), wrong


def _next(todo: "SimpleQueue[Scenario]") -> Scenario | None:
    try:
        return todo.get_nowait()
    except Empty:
        return None


def _print(result: Result) -> None:
    scenario = result.scenario
    end = result.end.value if result.end is not None else "?"
    print(
        f"{'WRONG' if result.wrong else 'ok':5}  {scenario.fault:55}  {scenario.stage.value:24}  "
        f"{scenario.wanted.value:9}  {end:9}  {result.seconds:6.2f} s of {scenario.deadline_s:g}",
        flush=True,
    )
    for each in result.wrong:
        print(f"       {each}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""``make faults``: all scenarios as a table."""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from tests.faults.play import Result, Scenario, play
from tests.faults.scenarios import all_scenarios
from tests.faults.server import Server, connect


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("-k", default="", metavar="WORDS", help="only scenarios whose name holds these words")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play everything so often")
    parser.add_argument("--lanes", type=int, default=4, metavar="N", help="servers at a time (default: %(default)s)")
    options = parser.parse_args()
    chosen = [each for each in all_scenarios() if options.k.lower() in each.name.lower()]
    started = time.monotonic()
    wrong = 0
    for _ in range(options.repeat):
        wrong += _play(chosen, options.lanes)
    print(f"{len(chosen) * options.repeat} scenarios, {wrong} wrong, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


def _play(scenarios: Sequence[Scenario], lanes: int) -> int:
    first = connect()
    if first.name != "simulator":
        lanes = 1
    servers = [first, *(connect() for _ in range(lanes - 1))]
    todo: SimpleQueue[Scenario] = SimpleQueue()
    for scenario in scenarios:
        if not (scenario.only_simulator and first.name != "simulator"):
            todo.put(scenario)
    printing = threading.Lock()
    wrong = 0

    def lane(server: Server) -> None:
        nonlocal wrong
        with server:
            while (scenario := _next(todo)) is not None:
                result = play(scenario, server)
                with printing:
                    wrong += bool(result.wrong)
                    _print(result)

    with ThreadPoolExecutor(lanes) as threads:
        for each in [threads.submit(lane, server) for server in servers]:
            each.result()
    return wrong


def _next(todo: "SimpleQueue[Scenario]") -> Scenario | None:
    try:
        return todo.get_nowait()
    except Empty:
        return None


def _print(result: Result) -> None:
    scenario = result.scenario
    end = result.end.value if result.end is not None else "?"
    print(
        f"{'WRONG' if result.wrong else 'ok':5}  {scenario.fault:55.55}  {scenario.stage.value:24}  "
        f"{scenario.wanted.value:10}  {end:10}  {result.seconds:6.2f} s of {scenario.deadline_s:g}",
        flush=True,
    )
    for each in result.wrong:
        print(f"       {each}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

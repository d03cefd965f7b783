"""``map``: rows read as they are needed, results as they come, one row's error for itself."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import comfybridge
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure

SMALL: Any = {"template": "sd15", "width": 64, "height": 64, "steps": 1}


def rows(number: int, taken: list[int] | None = None) -> Iterator[dict[str, Any]]:
    for each in range(number):
        if taken is not None:
            taken.append(each)
        yield {"prompt": f"fox {each}", "seed": each, **SMALL}


def test_every_row_ends_once(comfy: comfybridge.Comfy) -> None:
    ends = list(comfy.map([*rows(5), "a wolf"], jobs=3))

    assert sorted(end.index for end in ends) == list(range(6))
    assert {end.index: end.result.seed for end in ends if end.result and end.index < 5} == {n: n for n in range(5)}
    assert next(end.row for end in ends if end.index == 5) == "a wolf"
    assert all(end.seconds > 0 for end in ends)


def test_error_of_one_row_stops_no_other(comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
    comfyui.inject(NodeFailure("KSampler"), times=1)
    wrong = {"prompt": "fox", "steps": "many"}

    ends = list(comfy.map([*rows(3), wrong], jobs=1))

    assert [type(end.error).__name__ for end in ends] == ["NodeError", "NoneType", "NoneType", "InvalidInput"]
    assert [end.result is None for end in ends] == [True, False, False, True]


def test_rows_are_read_as_they_are_needed(comfy: comfybridge.Comfy) -> None:
    taken: list[int] = []
    ends = comfy.map(rows(1000, taken), jobs=2)

    for _ in range(5):
        next(ends)
    so_far = len(taken)
    ends.close()

    # Two in the making, two that wait to be read, and those that were.
    assert so_far <= 5 + 4


def test_so_many_are_in_flight_for_each_server(comfyui: Simulator) -> None:
    with Simulator() as other, comfybridge.connect(comfyui.url, other.url) as comfy:
        for server in (comfyui, other):
            server.hold()
        ends = comfy.map(rows(20), jobs=3)
        first = threading.Thread(target=lambda: next(ends))
        first.start()
        comfyui.wait_for(lambda server: len(server.running) + len(server.pending) == 3)
        other.wait_for(lambda server: len(server.running) + len(server.pending) == 3)

        for server in (comfyui, other):
            server.release()
        first.join(20)
        assert len(list(ends)) == 19


def test_closing_cancels_what_is_on_its_way(comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
    def held() -> Iterator[dict[str, Any]]:
        for row in rows(50):
            if row["seed"] == 1:
                comfyui.hold()
            yield row

    ends = comfy.map(held(), jobs=1)
    next(ends)
    comfyui.wait_for("running")
    ends.close()
    comfyui.release()
    comfyui.wait_for("idle")

    assert [entry["status"]["status_str"] for entry in comfyui.history.values()] == ["success", "error"]
    assert comfyui.count("POST", "/prompt") == 2


def test_mistake_in_the_rows_is_raised(comfy: comfybridge.Comfy, comfyui: Simulator) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from rows(2)
        raise LookupError("row 3")

    with pytest.raises(LookupError, match="row 3"):
        list(comfy.map(broken(), jobs=1))

    comfyui.wait_for("idle")


def test_events_name_their_row(comfy: comfybridge.Comfy) -> None:
    events: list[comfybridge.Event] = []

    ends = {end.index: end for end in comfy.map(rows(3), jobs=2, on_event=events.append)}

    assert {event.row for event in events} == {0, 1, 2}
    for event in events:
        result = ends[event.row or 0].result
        assert result is not None
        assert event.prompt_id == result.prompt_id


def test_row_may_have_a_workflow(comfy: comfybridge.Comfy) -> None:
    (end,) = comfy.map([{"workflow": "sd15", "prompt": "a fox", "steps": 1, "width": 64, "height": 64}])

    assert end.result is not None
    assert (end.result.template, end.result.width) == ("sd15@1", 64)


def test_results_of_two_servers_come_together(comfyui: Simulator) -> None:
    with Simulator() as other, comfybridge.connect(comfyui.url, other.url) as comfy:
        servers = {end.result.server for end in comfy.map(rows(12), jobs=2) if end.result}

    assert servers == {comfyui.url, other.url}

"""Every fault at every stage where it makes sense, and the one right end of each."""

from collections.abc import Callable, Iterator
from typing import Any

from comfybridge.simulator.faults import LateHistory, NoOutput, OutOfMemory
from tests.faults import acts, broken_http
from tests.faults.broken_http import (
    BEFORE,
    CANCELLED,
    DOWNLOADING,
    FAILED,
    FINISHED,
    INVALID,
    LONG_S,
    LOST,
    NOT_TAKEN,
    PATHS,
    PICTURES,
    QUEUED,
    REJECTED,
    RUNNING,
    SHORT_S,
    SUBMITTING,
    TIMED_OUT,
    at,
    short_s,
)
from tests.faults.frames import Cut, Duplicate, Foreign, FrameFault, Mute, Reorder
from tests.faults.play import End, Play, Scenario, Stage
from tests.faults.rules import Answer, Call, Rewrite, Rule, Silence

_NODE_ERRORS = (
    b'"node_errors": {"2": {"errors": [{"type": "value_not_in_list", "message": "Value not in list", "details": "",'
    b' "extra_info": {}}], "dependent_outputs": ["2"], "class_type": "SaveImage"}}'
)


def all_scenarios() -> tuple[Scenario, ...]:
    return tuple(
        scenario
        for each in (broken_http.for_good, broken_http.once, _sockets, _server, _others, _job, _graphs, _cache)
        for scenario in each()
    )


_FRAMES: tuple[tuple[str, tuple[FrameFault | None, ...]], ...] = (
    ("The WebSocket is cut at once", (Cut(0),)),
    ("The WebSocket is cut after 1 frame", (Cut(1),)),
    ("The WebSocket is cut after 4 frames", (Cut(4),)),
    ("The WebSocket is cut after 7 frames", (Cut(7),)),
    ("The WebSocket says nothing", (Mute(0),)),
    ("The WebSocket falls silent after 3 frames", (Mute(3),)),
    ("Events come twice", (Duplicate(),)),
    ("Events come in another order", (Reorder(),)),
    ("Events of other prompts come between", (Foreign(),)),
)


def _sockets() -> Iterator[Scenario]:
    for fault, faults in _FRAMES:
        for stage in (QUEUED, RUNNING):
            yield Scenario(
                fault=fault, stage=stage, wanted=PICTURES, sockets=faults, deadline_s=LONG_S, is_fast=stage is RUNNING
            )
    for fault, action in (
        ("The WebSocket is forbidden", Answer(403)),
        ("The WebSocket's handshake is refused as plain HTTP", Answer(400, b"no upgrade", "text/plain")),
    ):
        for stage in (QUEUED, RUNNING):
            yield Scenario(fault=fault, stage=stage, wanted=PICTURES, rules=(Rule(action, "/ws"),), deadline_s=LONG_S)
    yield Scenario(
        fault="The WebSocket's handshake gets no answer",
        stage=BEFORE,
        wanted=PICTURES,
        rules=(Rule(Silence(), "/ws"),),
        deadline_s=LONG_S,
        is_fast=False,
    )
    for stage in (QUEUED, RUNNING):
        yield Scenario(
            fault="The WebSocket is deaf after a reconnect",
            stage=stage,
            wanted=PICTURES,
            before=acts.use_up_a_socket,
            sockets=(Cut(1), Mute(1)),
            deadline_s=LONG_S,
        )
        yield Scenario(
            fault="Somebody else connects with our client id",
            stage=stage,
            wanted=PICTURES,
            act=acts.steal_client_id,
            deadline_s=LONG_S,
        )


def _server() -> Iterator[Scenario]:
    """The server's process dies, comes back or stands still."""
    yield Scenario(fault="Connection refused", stage=BEFORE, wanted=NOT_TAKEN, before=lambda play: play.relay.refuse())
    yield Scenario(
        fault="Connection refused",
        stage=SUBMITTING,
        wanted=NOT_TAKEN,
        before=_on("/ws", lambda play: play.relay.refuse()),
    )
    for stage in (QUEUED, RUNNING):
        yield _acted(stage, "Connection refused", LOST, lambda play: play.relay.refuse(), goes_on=False)
        yield _acted(stage, "Connection refused for a moment", PICTURES, acts.refuse_for_a_moment)
        yield _acted(stage, "The server is killed", LOST, Play.kill, goes_on=False)
        yield _acted(stage, "The server is restarted", LOST, Play.restart, goes_on=False)
        yield _acted(stage, "The server freezes", TIMED_OUT, acts.freeze, goes_on=False, deadline_s=SHORT_S)
        yield _acted(stage, "The server freezes for a moment", PICTURES, acts.freeze_for_a_moment)
    yield _acted(BEFORE, "The server is killed", NOT_TAKEN, Play.kill)
    yield _acted(BEFORE, "The server freezes", NOT_TAKEN, acts.freeze, deadline_s=SHORT_S)
    yield _acted(BEFORE, "The server's worker thread is dead", TIMED_OUT, acts.kill_worker, deadline_s=SHORT_S)
    yield _acted(
        QUEUED, "The server's worker thread is dead", TIMED_OUT, acts.kill_worker_behind_blocker, deadline_s=SHORT_S
    )
    for stage, path in ((SUBMITTING, "/prompt"), (FINISHED, "/history/*"), (DOWNLOADING, "/view")):
        killed = {SUBMITTING: LOST, FINISHED: LOST, DOWNLOADING: FAILED}[stage]
        frozen = LOST if stage is SUBMITTING else TIMED_OUT
        restarted = {SUBMITTING: PICTURES, FINISHED: LOST, DOWNLOADING: PICTURES}[stage]
        for fault, wanted, action, deadline_s in (
            ("The server is killed", killed, Play.kill, LONG_S),
            ("The server is restarted", restarted, Play.restart, LONG_S),
            ("The server freezes", frozen, acts.freeze, short_s(stage)),
            ("The server freezes for a moment", PICTURES, acts.freeze_for_a_moment, LONG_S),
        ):
            yield Scenario(
                fault=fault,
                stage=stage,
                wanted=wanted,
                before=_on(path, action, method="POST" if stage is SUBMITTING else "GET"),
                deadline_s=deadline_s,
                is_fast=stage is not SUBMITTING or action is not acts.freeze,
            )
    for stage, method, path in ((SUBMITTING, "POST", "/prompt"), (DOWNLOADING, "GET", "/view")):
        yield Scenario(
            fault="The server is restarted, which takes 5 s",
            stage=stage,
            wanted=PICTURES,
            before=_on(path, acts.restart_slowly, method=method),
            deadline_s=LONG_S,
            is_fast=False,
        )
    yield _acted(BEFORE, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())
    yield _acted(QUEUED, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())
    yield _acted(RUNNING, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())


def _others() -> Iterator[Scenario]:
    """What other people do to the server, and what clocks do."""
    yield _acted(QUEUED, "Somebody deletes the job from the queue", CANCELLED, acts.delete)
    yield _acted(QUEUED, "Somebody clears the queue", CANCELLED, acts.clear_queue)
    yield _acted(RUNNING, "Somebody interrupts the job", CANCELLED, acts.interrupt, goes_on=False)
    yield _acted(QUEUED, "Somebody interrupts the job before it", PICTURES, acts.interrupt_blocker)
    yield _acted(QUEUED, "Somebody clears the history", PICTURES, acts.clear_history)
    yield _acted(RUNNING, "Somebody clears the history", PICTURES, acts.clear_history)
    for stage, wanted in ((FINISHED, LOST), (DOWNLOADING, PICTURES)):
        yield Scenario(
            fault="Somebody clears the history",
            stage=stage,
            wanted=wanted,
            before=_on(PATHS[stage][1], acts.clear_finished_history),
            deadline_s=LONG_S,
        )
    full = "its history holds 10000 jobs"
    yield _acted(BEFORE, "The history is full", PICTURES, acts.fill_history, only_simulator=full)
    yield Scenario(
        fault="The history is full",
        stage=FINISHED,
        wanted=LOST,
        before=_on("/history/*", acts.push_out_of_history),
        deadline_s=LONG_S,
        only_simulator=full,
    )
    yield Scenario(
        fault="The history lags behind the events",
        stage=FINISHED,
        wanted=PICTURES,
        before=lambda play: play.simulator.inject(LateHistory(0.4)),
        deadline_s=LONG_S,
        only_simulator="it lags when it likes",
    )
    yield Scenario(
        fault="The picture is removed from the server",
        stage=DOWNLOADING,
        wanted=FAILED,
        before=_on("/view", Play.remove_file),
    )
    for stage in (QUEUED, RUNNING):
        yield _acted(stage, "The clock jumps a day ahead", PICTURES, lambda _: acts.set_clock(acts.DAY_S))
        yield _acted(stage, "The clock jumps a day back", PICTURES, lambda _: acts.set_clock(-acts.DAY_S))


def _job() -> Iterator[Scenario]:
    """Jobs that end badly by themselves, and those that take too long."""
    injected = "it cannot be told to"
    yield Scenario(fault="A node fails", stage=RUNNING, wanted=FAILED, graph=acts.broken_picture)
    yield Scenario(
        fault="Memory runs out once",
        stage=RUNNING,
        wanted=PICTURES,
        before=lambda play: play.simulator.inject(OutOfMemory()),
        jobs=2,
        only_simulator=injected,
    )
    yield Scenario(
        fault="Memory runs out again and again",
        stage=RUNNING,
        wanted=FAILED,
        before=lambda play: play.simulator.inject(OutOfMemory()),
        rules=(Rule(Answer(200, b""), "/free"),),
        jobs=2,
        only_simulator=injected,
    )
    yield Scenario(
        fault="The server saves nothing",
        stage=RUNNING,
        wanted=FAILED,
        before=lambda play: play.simulator.inject(NoOutput(), 1),
        only_simulator=injected,
    )
    yield Scenario(fault="The job takes too long", stage=QUEUED, wanted=TIMED_OUT, goes_on=False, deadline_s=SHORT_S)
    yield Scenario(fault="The job takes too long", stage=RUNNING, wanted=TIMED_OUT, goes_on=False, deadline_s=SHORT_S)
    for stage in (QUEUED, RUNNING):
        yield Scenario(
            fault="The job takes too long, and after_timeout is cancel",
            stage=stage,
            wanted=TIMED_OUT,
            goes_on=False,
            keeps_on=False,
            deadline_s=SHORT_S,
        )
    yield Scenario(
        fault="The job takes too long, without a WebSocket",
        stage=RUNNING,
        wanted=TIMED_OUT,
        rules=(Rule(Answer(403), "/ws"),),
        goes_on=False,
        deadline_s=SHORT_S,
    )
    yield Scenario(fault="There is no time at all", stage=BEFORE, wanted=NOT_TAKEN, deadline_s=0.0)


def _graphs() -> Iterator[Scenario]:
    """Graphs that give no picture, or another thing than a picture."""
    yield _with_graph("A workflow that sends its picture by WebSocket only", FAILED, acts.sent_only)
    yield _with_graph("A workflow with previews only", PICTURES, acts.previews)
    yield _with_graph("A workflow that shows text only", PICTURES, acts.text, is_picture=False)
    yield Scenario(
        fault="Outputs of a kind that nobody knows",
        stage=FINISHED,
        wanted=PICTURES,
        rules=(Rule(Rewrite(b'{"images": ', b'{"things": '), "/history/*"),),
    )
    yield _with_graph("A value out of range", REJECTED, acts.too_small, stage=BEFORE)
    yield _with_graph("A node that the server lacks", REJECTED, acts.unknown_node, stage=BEFORE)
    yield _with_graph("No workflow at all", INVALID, lambda _: {"nothing": 1}, stage=BEFORE)
    refused = b'{"error": {"type": "invalid_prompt", "message": "no", "details": ""}, "node_errors": {}}'
    yield at(SUBMITTING, "The server refuses the workflow", Answer(400, refused, "application/json"), REJECTED)
    yield Scenario(
        fault="The server would run only a part of the workflow",
        stage=SUBMITTING,
        wanted=REJECTED,
        rules=(Rule(Rewrite(b'"node_errors": {}', _NODE_ERRORS), "/prompt", "POST"),),
        before=lambda play: play.server.hold(),
    )
    yield Scenario(
        fault="A ComfyUI that names the job itself",
        stage=SUBMITTING,
        wanted=FAILED,
        rules=(Rule(Rewrite(b'"prompt_id": "', b'"prompt_id":"0'), "/prompt", "POST"),),
    )


def _cache() -> Iterator[Scenario]:
    """Runs that the server answers from its cache."""
    yield _acted(BEFORE, "Everything is cached", PICTURES, Play.warm_up)
    yield _acted(BEFORE, "Everything is cached, without a WebSocket", PICTURES, Play.warm_up, forbid=("/ws",))
    yield _acted(BEFORE, "All but the saving is cached", PICTURES, acts.warm_up_partly)
    yield _acted(BEFORE, "Everything is cached, and the picture is gone", PICTURES, acts.warm_up_and_remove, jobs=2)
    yield _acted(
        BEFORE,
        "Everything is cached, the picture is gone, no WebSocket",
        PICTURES,
        acts.warm_up_and_remove,
        jobs=2,
        forbid=("/ws",),
    )


# How a scenario is put together


def _acted(
    stage: Stage,
    fault: str,
    wanted: End,
    action: Callable[[Play], None],
    *,
    forbid: tuple[str, ...] = (),
    deadline_s: float = LONG_S,
    **more: Any,
) -> Scenario:
    """A scenario in which something is done: before the call, or when the job is where it shall be."""
    is_held = stage in (QUEUED, RUNNING)
    return Scenario(
        fault=fault,
        stage=stage,
        wanted=wanted,
        before=None if is_held else action,
        act=action if is_held else None,
        rules=tuple(Rule(Answer(403), path) for path in forbid),
        deadline_s=deadline_s,
        **more,
    )


def _with_graph(
    fault: str, wanted: End, graph: Callable[[Play], Any], *, stage: Stage = RUNNING, **more: Any
) -> Scenario:
    return Scenario(fault=fault, stage=stage, wanted=wanted, graph=graph, **more)


def _on(path: str, action: Callable[[Play], None], *, method: str = "GET") -> Callable[[Play], None]:
    """Do something when the first such request comes, before the server sees it."""

    def arm(play: Play) -> None:
        play.relay.add(Rule(Call(lambda: action(play)), path, method, times=1))

    return arm

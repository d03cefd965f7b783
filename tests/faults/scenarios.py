"""Every fault at every stage where it makes sense, and the one right end of each."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from comfybridge.simulator.faults import LateHistory, NoOutput, OutOfMemory
from tests.contract import graphs
from tests.contract.server import eventually
from tests.faults.frames import Cut, Duplicate, Foreign, FrameFault, Mute, Reorder
from tests.faults.play import End, Play, Scenario, Stage
from tests.faults.relay import Action, Answer, Call, Drip, Huge, Reset, Rewrite, Rule, Silence, Truncate

PICTURES, FAILED, REJECTED, CANCELLED = End.PICTURES, End.FAILED, End.REJECTED, End.CANCELLED
TIMED_OUT, LOST, NOT_TAKEN, INVALID = End.TIMED_OUT, End.LOST, End.NOT_TAKEN, End.INVALID
BEFORE, SUBMITTING, QUEUED = Stage.BEFORE, Stage.SUBMITTING, Stage.QUEUED
RUNNING, FINISHED, DOWNLOADING = Stage.RUNNING, Stage.FINISHED, Stage.DOWNLOADING

SHORT_S = 1.0
"""The deadline of a call that shall run into it."""
_MOMENT_S = 0.3
_LONG_S = 60.0
"""The deadline of a call that ends long before it."""
_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_NODE_ERRORS = (
    b'"node_errors": {"2": {"errors": [{"type": "value_not_in_list", "message": "Value not in list", "details": "",'
    b' "extra_info": {}}], "dependent_outputs": ["2"], "class_type": "SaveImage"}}'
)
_LARGER_THAN_ANYTHING = 513 << 20
_DAY_S = 86400.0

# Where the relay meets a call at each stage; a queued or running job is met at all its requests.
_PATHS = {
    BEFORE: ("GET", "/object_info/*"),
    SUBMITTING: ("POST", "/prompt"),
    QUEUED: ("*", "*"),
    RUNNING: ("*", "*"),
    FINISHED: ("GET", "/history/*"),
    DOWNLOADING: ("GET", "/view"),
}
_WAITING = (QUEUED, RUNNING, FINISHED)


def all_scenarios() -> tuple[Scenario, ...]:
    return tuple(
        scenario
        for each in (_for_good, _once, _sockets, _server, _others, _job, _graphs, _cache)
        for scenario in each()
    )


# HTTP that breaks for good: what a job that is waited for can do is to time out.
_FOR_GOOD: tuple[tuple[str, Action, End, End, End], ...] = (
    # fault, what the relay does, the end before submitting, while submitting, while downloading
    ("Every connection breaks", Reset(), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("Connections open, but no answer ever comes", Silence(), NOT_TAKEN, LOST, TIMED_OUT),
    ("Answers drip, byte by byte, without an end", Drip(30.0), NOT_TAKEN, TIMED_OUT, TIMED_OUT),
    ("Answers drip without an end, their first line too", Drip(30.0, head=True), NOT_TAKEN, TIMED_OUT, TIMED_OUT),
    ("HTTP 401, always", Answer(401), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("HTTP 403, always", Answer(403), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("HTTP 404, always", Answer(404), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("HTTP 429, always", Answer(429), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("HTTP 500, always", Answer(500), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("A proxy's page, HTTP 502, always", Answer(502, _PAGE), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("HTTP 503, always", Answer(503), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("Every answer is cut off", Truncate(), NOT_TAKEN, PICTURES, FAILED),
    ("Every answer is empty", Answer(), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("A web page with HTTP 200, always", Answer(200, b"<!doctype html><p>log in"), NOT_TAKEN, NOT_TAKEN, FAILED),
    ("JSON of another kind, always", Answer(200, b"[null]", "application/json"), NOT_TAKEN, NOT_TAKEN, FAILED),
)
_PATIENT = (Silence, Drip)


def _is_head_dripping(action: Action, stage: Stage) -> bool:
    return isinstance(action, Drip) and action.head and stage in (SUBMITTING, DOWNLOADING)


def _for_good() -> Iterator[Scenario]:
    for fault, action, before, submitting, downloading in _FOR_GOOD:
        ends = {BEFORE: before, SUBMITTING: submitting, DOWNLOADING: downloading}
        for stage in Stage:
            wanted = ends.get(stage, TIMED_OUT)
            method, path = _PATHS[stage]
            rule = Rule(action, path, method)
            # A job that waits is looked after by requests once its socket is gone.
            is_met = stage in (QUEUED, RUNNING)
            is_late = isinstance(action, _PATIENT) or stage in _WAITING
            yield Scenario(
                fault=fault,
                stage=stage,
                wanted=wanted,
                rules=() if is_met else (rule,),
                then=(rule,) if is_met else (),
                cuts=is_met,
                goes_on=stage is QUEUED,
                deadline_s=SHORT_S if is_late else _LONG_S,
                # The jobs that run into their deadline one after the other would take minutes.
                is_fast=not is_late or fault == "Every connection breaks" or _is_head_dripping(action, stage),
            )
    huge = Huge(_LARGER_THAN_ANYTHING)
    yield _at(BEFORE, "Answers are larger than 512 MiB", huge, FAILED)
    yield _at(FINISHED, "Answers are larger than 512 MiB", huge, FAILED)
    yield _at(DOWNLOADING, "Answers are larger than 512 MiB", huge, FAILED)
    yield Scenario(
        fault="Answers are larger than 512 MiB",
        stage=RUNNING,
        wanted=FAILED,
        then=(Rule(huge, "/api/jobs/*", times=1),),
        cuts=True,
        goes_on=False,
    )


_ONCE: tuple[tuple[str, Action, End, End, End], ...] = (
    # fault, what the relay does once, the end before submitting, while submitting, while downloading
    ("A connection breaks once", Reset(), PICTURES, PICTURES, PICTURES),
    ("A connection breaks once, after the request arrived", Reset(after=True), PICTURES, PICTURES, PICTURES),
    ("An answer drips, but ends", Drip(0.3, head=True), PICTURES, PICTURES, PICTURES),
    ("HTTP 500, once", Answer(500), NOT_TAKEN, NOT_TAKEN, PICTURES),
    ("HTTP 502, once", Answer(502, _PAGE), NOT_TAKEN, PICTURES, PICTURES),
    ("HTTP 429, once", Answer(429), NOT_TAKEN, PICTURES, PICTURES),
    ("HTTP 502 once, after the request arrived", Answer(502, _PAGE, after=True), NOT_TAKEN, PICTURES, PICTURES),
    ("HTTP 504 once, after the request arrived", Answer(504, _PAGE, after=True), NOT_TAKEN, PICTURES, PICTURES),
    ("An answer is cut off once", Truncate(), PICTURES, PICTURES, PICTURES),
    ("A web page once, after the request arrived", Answer(200, _PAGE, after=True), NOT_TAKEN, PICTURES, FAILED),
    ("An empty answer once, after the request arrived", Answer(after=True), NOT_TAKEN, PICTURES, FAILED),
)


def _once() -> Iterator[Scenario]:
    for fault, action, *ends in _ONCE:
        for stage, wanted in zip((BEFORE, SUBMITTING, DOWNLOADING), ends, strict=True):
            is_fast = stage is SUBMITTING or not isinstance(action, Drip)
            yield _at(stage, fault, action, wanted, times=1, is_fast=is_fast)
        yield _at(FINISHED, fault, action, PICTURES, times=1, is_fast=not isinstance(action, Drip))
        for stage in (QUEUED, RUNNING):
            yield Scenario(
                fault=fault,
                stage=stage,
                wanted=PICTURES,
                then=(Rule(action, "/api/jobs/*", times=1), Rule(action, "/history/*", times=1)),
                cuts=True,
                deadline_s=_LONG_S,
                is_fast=isinstance(action, Reset | Truncate),
            )
    yield Scenario(
        fault="No answer to the submission, which arrived",
        stage=SUBMITTING,
        wanted=TIMED_OUT,
        rules=(Rule(Silence(after=True), "/prompt", "POST"),),
        deadline_s=SHORT_S,
    )
    yield Scenario(
        fault="The submission cannot be looked up either",
        stage=SUBMITTING,
        wanted=LOST,
        rules=(
            Rule(Reset(after=True), "/prompt", "POST"),
            Rule(Answer(500), "/api/jobs/*", times=3),
            Rule(Answer(500), "/history/*", times=3),
        ),
        deadline_s=_LONG_S,
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
            yield Scenario(fault=fault, stage=stage, wanted=PICTURES, sockets=faults, deadline_s=_LONG_S)
    for fault, action in (
        ("The WebSocket is forbidden", Answer(403)),
        ("The WebSocket's handshake is refused as plain HTTP", Answer(400, b"no upgrade", "text/plain")),
    ):
        for stage in (QUEUED, RUNNING):
            yield Scenario(fault=fault, stage=stage, wanted=PICTURES, rules=(Rule(action, "/ws"),), deadline_s=_LONG_S)
    yield Scenario(
        fault="The WebSocket's handshake gets no answer",
        stage=BEFORE,
        wanted=PICTURES,
        rules=(Rule(Silence(), "/ws"),),
        deadline_s=_LONG_S,
        is_fast=False,
    )
    for stage in (QUEUED, RUNNING):
        yield Scenario(
            fault="The WebSocket is deaf after a reconnect",
            stage=stage,
            wanted=PICTURES,
            before=_use_up_a_socket,
            sockets=(Cut(1), Mute(1)),
            deadline_s=_LONG_S,
        )
        yield Scenario(
            fault="Somebody else connects with our client id",
            stage=stage,
            wanted=PICTURES,
            act=_steal_client_id,
            deadline_s=_LONG_S,
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
        yield _acted(stage, "Connection refused for a moment", PICTURES, _refuse_for_a_moment)
        yield _acted(stage, "The server is killed", LOST, Play.kill, goes_on=False)
        yield _acted(stage, "The server is restarted", LOST, Play.restart, goes_on=False)
        yield _acted(stage, "The server freezes", TIMED_OUT, _freeze, goes_on=False, deadline_s=SHORT_S)
        yield _acted(stage, "The server freezes for a moment", PICTURES, _freeze_for_a_moment)
    yield _acted(BEFORE, "The server is killed", NOT_TAKEN, Play.kill)
    yield _acted(BEFORE, "The server freezes", NOT_TAKEN, _freeze, deadline_s=SHORT_S)
    yield _acted(BEFORE, "The server's worker thread is dead", TIMED_OUT, _kill_worker, deadline_s=SHORT_S)
    yield _acted(
        QUEUED, "The server's worker thread is dead", TIMED_OUT, _kill_worker_behind_blocker, deadline_s=SHORT_S
    )
    for stage, path in ((SUBMITTING, "/prompt"), (FINISHED, "/history/*"), (DOWNLOADING, "/view")):
        killed = {SUBMITTING: LOST, FINISHED: LOST, DOWNLOADING: FAILED}[stage]
        frozen = LOST if stage is SUBMITTING else TIMED_OUT
        restarted = {SUBMITTING: PICTURES, FINISHED: LOST, DOWNLOADING: PICTURES}[stage]
        for fault, wanted, action, deadline_s in (
            ("The server is killed", killed, Play.kill, _LONG_S),
            ("The server is restarted", restarted, Play.restart, _LONG_S),
            ("The server freezes", frozen, _freeze, SHORT_S),
            ("The server freezes for a moment", PICTURES, _freeze_for_a_moment, _LONG_S),
        ):
            yield Scenario(
                fault=fault,
                stage=stage,
                wanted=wanted,
                before=_on(path, action, method="POST" if stage is SUBMITTING else "GET"),
                deadline_s=deadline_s,
                is_fast=stage is not SUBMITTING or action is not _freeze,
            )
    yield Scenario(
        fault="The server is restarted, which takes 3 s",
        stage=DOWNLOADING,
        wanted=PICTURES,
        before=_on("/view", _restart_slowly),
        deadline_s=_LONG_S,
        is_fast=False,
    )
    yield _acted(BEFORE, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())
    yield _acted(QUEUED, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())
    yield _acted(RUNNING, "The server's disk is full", FAILED, lambda play: play.server.fill_disk())


def _others() -> Iterator[Scenario]:
    """What other people do to the server, and what clocks do."""
    yield _acted(QUEUED, "Somebody deletes the job from the queue", CANCELLED, _delete)
    yield _acted(QUEUED, "Somebody clears the queue", CANCELLED, _clear_queue)
    yield _acted(RUNNING, "Somebody interrupts the job", CANCELLED, _interrupt, goes_on=False)
    yield _acted(QUEUED, "Somebody interrupts the job before it", PICTURES, _interrupt_blocker)
    yield _acted(QUEUED, "Somebody clears the history", PICTURES, _clear_history)
    yield _acted(RUNNING, "Somebody clears the history", PICTURES, _clear_history)
    for stage, wanted in ((FINISHED, LOST), (DOWNLOADING, PICTURES)):
        yield Scenario(
            fault="Somebody clears the history",
            stage=stage,
            wanted=wanted,
            before=_on(_PATHS[stage][1], _clear_finished_history),
            deadline_s=_LONG_S,
        )
    full = "its history holds 10000 jobs"
    yield _acted(BEFORE, "The history is full", PICTURES, _fill_history, only_simulator=full)
    yield Scenario(
        fault="The history is full",
        stage=FINISHED,
        wanted=LOST,
        before=_on("/history/*", _push_out_of_history),
        deadline_s=_LONG_S,
        only_simulator=full,
    )
    yield Scenario(
        fault="The history lags behind the events",
        stage=FINISHED,
        wanted=PICTURES,
        before=lambda play: play.simulator.inject(LateHistory(0.4)),
        deadline_s=_LONG_S,
        only_simulator="it lags when it likes",
    )
    yield Scenario(
        fault="The picture is removed from the server",
        stage=DOWNLOADING,
        wanted=FAILED,
        before=_on("/view", Play.remove_file),
    )
    for stage in (QUEUED, RUNNING):
        yield _acted(stage, "The clock jumps a day ahead", PICTURES, lambda _: _set_clock(_DAY_S))
        yield _acted(stage, "The clock jumps a day back", PICTURES, lambda _: _set_clock(-_DAY_S))


def _job() -> Iterator[Scenario]:
    """Jobs that end badly by themselves, and those that take too long."""
    injected = "it cannot be told to"
    yield Scenario(fault="A node fails", stage=RUNNING, wanted=FAILED, graph=_broken_picture)
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
    yield _with_graph("A workflow that sends its picture by WebSocket only", FAILED, _sent_only)
    yield _with_graph("A workflow with previews only", PICTURES, _previews)
    yield _with_graph("A workflow that shows text only", PICTURES, _text, is_picture=False)
    yield Scenario(
        fault="Outputs of a kind that nobody knows",
        stage=FINISHED,
        wanted=PICTURES,
        rules=(Rule(Rewrite(b'{"images": ', b'{"things": '), "/history/*"),),
    )
    yield _with_graph("A value out of range", REJECTED, _too_small, stage=BEFORE)
    yield _with_graph("A node that the server lacks", REJECTED, _unknown_node, stage=BEFORE)
    yield _with_graph("No workflow at all", INVALID, lambda _: {"nothing": 1}, stage=BEFORE)
    refused = b'{"error": {"type": "invalid_prompt", "message": "no", "details": ""}, "node_errors": {}}'
    yield _at(SUBMITTING, "The server refuses the workflow", Answer(400, refused, "application/json"), REJECTED)
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
    yield _acted(BEFORE, "All but the saving is cached", PICTURES, _warm_up_partly)
    yield _acted(BEFORE, "Everything is cached, and the picture is gone", PICTURES, _warm_up_and_remove, jobs=2)
    yield _acted(
        BEFORE,
        "Everything is cached, the picture is gone, no WebSocket",
        PICTURES,
        _warm_up_and_remove,
        jobs=2,
        forbid=("/ws",),
    )


# How a scenario is put together


def _at(
    stage: Stage, fault: str, action: Action, wanted: End, *, times: int | None = None, is_fast: bool = True
) -> Scenario:
    method, path = _PATHS[stage]
    return Scenario(
        fault=fault,
        stage=stage,
        wanted=wanted,
        rules=(Rule(action, path, method, times),),
        deadline_s=_LONG_S,
        is_fast=is_fast,
    )


def _acted(
    stage: Stage,
    fault: str,
    wanted: End,
    action: Callable[[Play], None],
    *,
    forbid: tuple[str, ...] = (),
    deadline_s: float = _LONG_S,
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


# What is done


def _restart_slowly(play: Play) -> None:
    play.kill()
    play.later(3.0, play.come_back)


def _refuse_for_a_moment(play: Play) -> None:
    play.relay.refuse()
    time.sleep(_MOMENT_S)
    play.relay.accept()


def _freeze(play: Play) -> None:
    play.server.freeze()


def _freeze_for_a_moment(play: Play) -> None:
    play.server.freeze()
    time.sleep(_MOMENT_S)
    play.server.thaw()


def _kill_worker(play: Play) -> None:
    play.server.kill_worker()


def _kill_worker_behind_blocker(play: Play) -> None:
    play.server.kill_worker()
    play.unblock()


def _steal_client_id(play: Play) -> None:
    """A second socket with our id gets our events; when it ends, the server forgets both."""
    play.server.wire.connect(play.relay.client_ids[-1]).close()


def _use_up_a_socket(play: Play) -> None:
    """The client has had a socket before, which was cut."""
    from comfybridge.deadline import Deadline  # noqa: PLC0415

    with play.client.listen("earlier", Deadline(5)) as listener:
        eventually(lambda: not listener.was_connected_throughout)


def _delete(play: Play) -> None:
    play.server.wire.post("/queue", json={"delete": [play.prompt_id]})


def _clear_queue(play: Play) -> None:
    play.server.wire.post("/queue", json={"clear": True})


def _interrupt(play: Play) -> None:
    play.server.wire.post("/interrupt")


def _interrupt_blocker(play: Play) -> None:
    play.server.wire.post("/interrupt", json={"prompt_id": play.blocker})


def _clear_history(play: Play) -> None:
    play.server.wire.post("/history", json={"clear": True})


def _clear_finished_history(play: Play) -> None:
    play.until_finished()
    _clear_history(play)


def _fill_history(play: Play) -> None:
    play.simulator.tell("history_size", 1)
    for _ in range(3):
        play.server.wire.run(graphs.solid(), client_id="somebody")


def _push_out_of_history(play: Play) -> None:
    play.until_finished()
    _fill_history(play)


def _set_clock(jump_s: float) -> None:
    real = time.time
    time.time = lambda: real() + jump_s


def _warm_up_partly(play: Play) -> None:
    play.warm_up()
    assert play.warm is not None
    play.warm["2"]["inputs"]["filename_prefix"] += "-again"


def _warm_up_and_remove(play: Play) -> None:
    play.warm = graphs.solid(color=play.color)
    entry = play.server.wire.run(play.warm, client_id="warm")
    (image,) = entry["outputs"]["2"]["images"]
    (play.server.output_folder / image["subfolder"] / image["filename"]).unlink()


# Graphs


def _saved_by(play: Play, class_type: str, **inputs: Any) -> dict[str, Any]:
    prompt = graphs.solid(color=play.color)
    prompt["2"] = {"class_type": class_type, "inputs": {"images": ["1", 0], **inputs}}
    return prompt


def _sent_only(play: Play) -> Any:
    return _saved_by(play, "SaveImageWebsocket")


def _previews(play: Play) -> Any:
    return _saved_by(play, "PreviewImage")


def _text(_play: Play) -> Any:
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": graphs.unique()}}}


def _too_small(play: Play) -> Any:
    prompt = graphs.solid(color=play.color)
    prompt["1"]["inputs"]["width"] = 0
    return prompt


def _unknown_node(play: Play) -> Any:
    return _saved_by(play, "SaveImageToTheMoon")


def _broken_picture(play: Play) -> Any:
    """LoadImage takes the name and fails at the bytes."""
    name = f"faults-{graphs.unique()}.png"
    play.server.wire.upload(name, b"\x89PNG\r\n\x1a\n broken")
    return {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": graphs.save("1")}

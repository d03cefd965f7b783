"""HTTP that breaks, for good or once, at every stage of a job."""

from collections.abc import Iterator

from tests.faults.play import End, Scenario, Stage
from tests.faults.rules import Action, Answer, Drip, Huge, Reset, Rule, Silence, Truncate

PICTURES, FAILED, REJECTED, CANCELLED = End.PICTURES, End.FAILED, End.REJECTED, End.CANCELLED
TIMED_OUT, LOST, NOT_TAKEN, INVALID = End.TIMED_OUT, End.LOST, End.NOT_TAKEN, End.INVALID
BEFORE, SUBMITTING, QUEUED = Stage.BEFORE, Stage.SUBMITTING, Stage.QUEUED
RUNNING, FINISHED, DOWNLOADING = Stage.RUNNING, Stage.FINISHED, Stage.DOWNLOADING

SHORT_S = 1.0
"""The deadline of a call that shall run into it."""
LATE_S = 4.0
"""The same where the fault begins after the job has finished: a busy machine must get so far within it."""
LONG_S = 60.0
"""The deadline of a call that ends long before it."""
_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
LARGER_THAN_ANYTHING = 513 << 20

# Where the relay meets a call at each stage; a queued or running job is met at all its requests.
PATHS = {
    BEFORE: ("GET", "/object_info/*"),
    SUBMITTING: ("POST", "/prompt"),
    QUEUED: ("*", "*"),
    RUNNING: ("*", "*"),
    FINISHED: ("GET", "/history/*"),
    DOWNLOADING: ("GET", "/view"),
}
_WAITING = (QUEUED, RUNNING, FINISHED)


def at(
    stage: Stage, fault: str, action: Action, wanted: End, *, times: int | None = None, is_fast: bool = True
) -> Scenario:
    method, path = PATHS[stage]
    return Scenario(
        fault=fault,
        stage=stage,
        wanted=wanted,
        rules=(Rule(action, path, method, times),),
        deadline_s=LONG_S,
        is_fast=is_fast,
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


def short_s(stage: Stage) -> float:
    """The deadline of a call that shall run into it once it has reached the stage."""
    return LATE_S if stage in (FINISHED, DOWNLOADING) else SHORT_S


def _is_head_dripping(action: Action, stage: Stage) -> bool:
    return isinstance(action, Drip) and action.head and stage in (SUBMITTING, DOWNLOADING)


def for_good() -> Iterator[Scenario]:
    for fault, action, before, submitting, downloading in _FOR_GOOD:
        ends = {BEFORE: before, SUBMITTING: submitting, DOWNLOADING: downloading}
        for stage in Stage:
            wanted = ends.get(stage, TIMED_OUT)
            method, path = PATHS[stage]
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
                deadline_s=short_s(stage) if is_late else LONG_S,
                # The jobs that run into their deadline one after the other would take minutes.
                is_fast=not is_late or fault == "Every connection breaks" or _is_head_dripping(action, stage),
            )
    huge = Huge(LARGER_THAN_ANYTHING)
    yield at(BEFORE, "Answers are larger than 512 MiB", huge, FAILED)
    yield at(FINISHED, "Answers are larger than 512 MiB", huge, FAILED)
    yield at(DOWNLOADING, "Answers are larger than 512 MiB", huge, FAILED)
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
    ("HTTP 500, once", Answer(500), PICTURES, PICTURES, PICTURES),
    ("HTTP 500 once, after the request arrived", Answer(500, after=True), PICTURES, PICTURES, PICTURES),
    ("HTTP 502, once", Answer(502, _PAGE), PICTURES, PICTURES, PICTURES),
    ("HTTP 429, once", Answer(429), PICTURES, PICTURES, PICTURES),
    ("HTTP 502 once, after the request arrived", Answer(502, _PAGE, after=True), PICTURES, PICTURES, PICTURES),
    ("HTTP 504 once, after the request arrived", Answer(504, _PAGE, after=True), PICTURES, PICTURES, PICTURES),
    ("An answer is cut off once", Truncate(), PICTURES, PICTURES, PICTURES),
    ("A web page once, after the request arrived", Answer(200, _PAGE, after=True), PICTURES, PICTURES, PICTURES),
    ("An empty answer once, after the request arrived", Answer(after=True), PICTURES, PICTURES, PICTURES),
)


def once() -> Iterator[Scenario]:
    for fault, action, *ends in _ONCE:
        for stage, wanted in zip((BEFORE, SUBMITTING, DOWNLOADING), ends, strict=True):
            is_fast = stage is SUBMITTING or not isinstance(action, Drip)
            yield at(stage, fault, action, wanted, times=1, is_fast=is_fast)
        yield at(FINISHED, fault, action, PICTURES, times=1, is_fast=not isinstance(action, Drip))
        for stage in (QUEUED, RUNNING):
            yield Scenario(
                fault=fault,
                stage=stage,
                wanted=PICTURES,
                then=(Rule(action, "/api/jobs/*", times=1), Rule(action, "/history/*", times=1)),
                cuts=True,
                deadline_s=LONG_S,
                is_fast=stage is RUNNING and isinstance(action, Reset | Truncate),
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
        deadline_s=LONG_S,
    )

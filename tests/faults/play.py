"""One scenario from its beginning to the look at what it left behind."""

import enum
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from comfybridge import generation
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput, Unavailable
from comfybridge.filling import Inputs
from comfybridge.jobs import OutputFile
from comfybridge.library import Pasted
from comfybridge.pool import Pool
from tests.contract import graphs
from tests.contract.server import Prompt, eventually
from tests.faults import secrets
from tests.faults.frames import FrameFault
from tests.faults.relay import Relay
from tests.faults.rules import Rule
from tests.faults.server import Server, Simulated

GRACE_S = 2.0
"""How much later than its deadline a call may end."""
_CLOCK = time.time
_SETTLE_S = 5.0


class Stage(enum.Enum):
    """When the fault strikes; the values are the table's column heads."""

    BEFORE = "before submitting"
    SUBMITTING = "while submitting"
    QUEUED = "while queued"
    RUNNING = "while running"
    FINISHED = "between finish and fetch"
    DOWNLOADING = "while downloading"


class End(enum.Enum):
    """How a call ends, in the table's words."""

    PICTURES = "pictures"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    LOST = "lost"
    NOT_TAKEN = "not taken"
    """Unavailable: no server took the job."""
    INVALID = "invalid input"


_BY_OUTCOME = {
    "failed": End.FAILED,
    "rejected": End.REJECTED,
    "cancelled": End.CANCELLED,
    "timed_out": End.TIMED_OUT,
    "lost": End.LOST,
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, when it strikes, and the one right end.

    ``rules`` are the relay's from the start, ``then`` those from the stage on. ``before`` happens before the call,
    ``act`` when a queued or running job has reached the stage. ``jobs`` is how many the server may have taken.
    ``goes_on`` lets a held job finish after the fault. ``keeps_on`` says whether a late job is left to go on, as in
    ``generation.generate``. ``only_simulator`` says why a real server cannot do it.
    """

    fault: str
    stage: Stage
    wanted: End
    rules: tuple[Rule, ...] = ()
    then: tuple[Rule, ...] = ()
    sockets: tuple[FrameFault | None, ...] = ()
    before: "Callable[[Play], None] | None" = None
    act: "Callable[[Play], None] | None" = None
    graph: "Callable[[Play], Any] | None" = None
    deadline_s: float = 20.0
    jobs: int = 1
    goes_on: bool = True
    keeps_on: bool = True
    cuts: bool = False
    only_simulator: str = ""
    is_fast: bool = True
    is_picture: bool = True

    @property
    def name(self) -> str:
        return f"{self.fault}, {self.stage.value}"


@dataclass
class Result:
    """What came of a scenario; ``wrong`` is empty when all is right."""

    scenario: Scenario
    end: End | None
    seconds: float
    wrong: list[str]


class Play:
    """A scenario being played; actions reach the server, the relay and the job through it."""

    def __init__(self, scenario: Scenario, server: Server) -> None:
        self.scenario = scenario
        self.server = server
        self.color = graphs.any_color()
        self.blocker = ""
        self.files: list[OutputFile] = []
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.warm: Prompt | None = None
        self._timers: list[threading.Timer] = []

    @property
    def simulator(self) -> Simulated:
        assert isinstance(self.server, Simulated)
        return self.server

    @property
    def prompt_id(self) -> str:
        return self.relay.accepted[-1]

    def run(self) -> Result:
        scenario = self.scenario
        self.server.reset()
        with (
            Relay(self.server.url, scenario.rules, scenario.sockets) as self.relay,
            secrets.heard() as self.log,
        ):
            self.client = Client(self.relay.url, secrets.HEADERS, query=secrets.QUERY)
            thread = threading.Thread(target=self._call, name="call")
            try:
                if scenario.stage is Stage.QUEUED:
                    self._block()
                elif scenario.stage is Stage.RUNNING:
                    self.server.hold()
                if scenario.before is not None:
                    scenario.before(self)
                thread.start()
                if scenario.stage in (Stage.QUEUED, Stage.RUNNING):
                    self._strike()
                thread.join(scenario.deadline_s + 4 * GRACE_S)
                wrong = ["the call does not end"] if thread.is_alive() else self._wrong()
            finally:
                time.time = _CLOCK
                for timer in self._timers:
                    timer.join()
                self.relay.heal()
                self.server.thaw()
                self.relay.cut()
                self.client.close()
                if thread.ident is not None:
                    thread.join()
        return Result(scenario, self._end(), self.seconds, wrong)

    def kill(self) -> None:
        """The server is killed: its port refuses connections from now on."""
        self.server.kill()
        self.relay.refuse()

    def restart(self) -> None:
        """The server is killed and started again."""
        self.kill()
        self.come_back()

    def come_back(self) -> None:
        self.server.start()
        self.relay.accept()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something while the call goes on; the scenario ends after it."""
        timer = threading.Timer(seconds, action)
        self._timers.append(timer)
        timer.start()

    def until_finished(self) -> None:
        self.server.wire.finished(self.prompt_id)

    def remove_file(self) -> None:
        """The picture of the job that the server took last vanishes from its disk."""
        entry = self.server.wire.finished(self.prompt_id)
        for image in (image for output in entry["outputs"].values() for image in output["images"]):
            (self.server.output_folder / image["subfolder"] / image["filename"]).unlink()

    def warm_up(self) -> None:
        """Let the server run the call's own graph once, so that the call finds it in the cache."""
        self.warm = self._graph()
        self.server.wire.run(self.warm, client_id="warm")

    def _graph(self) -> Any:
        scenario = self.scenario
        if self.warm is not None:
            return self.warm
        if scenario.graph is not None:
            return scenario.graph(self)
        if scenario.stage is Stage.RUNNING:
            return self.server.long(self.color)
        return graphs.solid(color=self.color)

    def _call(self) -> None:
        graph = self._graph()
        deadline = Deadline(self.scenario.deadline_s)
        started = time.monotonic()
        try:
            made = generation.generate(
                Pasted(graph),
                Inputs(),
                Pool([self.client]),
                deadline=deadline,
                extra_data=secrets.EXTRA_DATA,
                keeps_on=self.scenario.keeps_on,
            )
            self.files = [item for item in made if isinstance(item, OutputFile)]
        except BaseException as error:  # noqa: BLE001  # whatever it is, the verdict names it
            self.error = error
        self.seconds = time.monotonic() - started

    def _block(self) -> None:
        """Have somebody else's job run, so that ours waits behind it."""
        self.server.hold()
        self.blocker = self.server.wire.submit(self.server.long(graphs.any_color()), client_id="somebody")
        eventually(lambda: self.server.wire.queued()[0] == [self.blocker])

    def _strike(self) -> None:
        """Wait until the job is where the fault shall find it; then the fault, and the job goes on."""
        scenario = self.scenario
        prompt_id = self.relay.wait_for_prompt()
        if scenario.stage is Stage.RUNNING:
            # A short graph on a server that cannot be held may have ended by now.
            wire = self.server.wire
            eventually(lambda: wire.queued()[0] == [prompt_id] or wire.history(prompt_id) is not None)
        self.relay.add(*scenario.then)
        if scenario.cuts:
            self.relay.cut()
        if scenario.act is not None:
            scenario.act(self)
        if scenario.goes_on:
            self.unblock()

    def unblock(self) -> None:
        """Somebody else's job, and what is held, go on to their end."""
        self.server.release()
        if self.blocker and self.server.has(self.blocker):
            self.server.wire.post("/interrupt", json={"prompt_id": self.blocker})

    def _end(self) -> End | None:
        match self.error:
            case None:
                return End.PICTURES
            case InvalidInput():
                return End.INVALID
            case Unavailable() if not self.relay.accepted:
                return End.NOT_TAKEN
            case ComfyError(outcome=outcome):
                return _BY_OUTCOME[outcome]
        return None

    def _wrong(self) -> list[str]:
        wrong = [*self._wrong_end(), *self._wrong_remains()]
        return [*wrong, *secrets.shown(self.log, self.error, self.server, self.relay.accepted)]

    def _wrong_end(self) -> Iterator[str]:
        scenario, end = self.scenario, self._end()
        if end is None:
            yield f"{type(self.error).__name__} escaped: {self.error}"
        elif end is not scenario.wanted:
            yield f"{end.value} instead of {scenario.wanted.value}: {self.error}"
        if self.seconds > scenario.deadline_s + GRACE_S:
            yield f"ended after {self.seconds:.1f} s"
        if end is End.PICTURES and scenario.is_picture:
            yield from self._wrong_pictures()
        if isinstance(self.error, ComfyError) and end is not End.INVALID:
            if not self.error.zh:
                yield "no Chinese sentence"
            if self.relay.accepted and self.error.prompt_id not in self.relay.accepted:
                yield f"names the job {self.error.prompt_id}, but the server took {self.relay.accepted}"
        if len(self.relay.accepted) > scenario.jobs:
            yield f"the server took {len(self.relay.accepted)} jobs"

    def _wrong_pictures(self) -> Iterator[str]:
        if len(self.files) != 1:
            yield f"{len(self.files)} pictures"
        for file in self.files:
            with Image.open(io.BytesIO(file.data)) as image:
                found = image.convert("RGB").getpixel((0, 0))
            wanted = tuple(self.color.to_bytes(3, "big"))
            # A real server scales a long graph's picture many times, and rounds each time.
            assert isinstance(found, tuple)
            if max(abs(int(one) - other) for one, other in zip(found, wanted, strict=True)) > 2:
                yield f"a picture of colour {found} instead of {wanted}"

    def _wrong_remains(self) -> Iterator[str]:
        """What the call left in the server's queue."""
        self.server.thaw()
        if self.server.pid is None:
            return
        ours = set(self.relay.accepted)
        if self._end() is End.TIMED_OUT and self.scenario.keeps_on:
            if not self.known():
                yield "timed out, but the job is gone"
            return
        if self._end() is End.LOST:
            # Of a job whose server cannot be asked nobody can say whether it runs.
            return
        # A cancelled job leaves the queue at its next step.
        end = time.monotonic() + _SETTLE_S
        while (left := sorted(filter(self.server.has, ours))) and time.monotonic() < end:
            time.sleep(0.01)
        if left:
            yield f"{len(left)} of our jobs left in the queue"

    def known(self) -> set[str]:
        """Our jobs that wait, run or have ended there."""
        wire = self.server.wire
        return {each for each in self.relay.accepted if self.server.has(each) or wire.history(each) is not None}


def play(scenario: Scenario, server: Server) -> Result:
    """Play a scenario; what keeps it from being played is wrong, too."""
    try:
        return Play(scenario, server).run()
    except (AssertionError, OSError, RuntimeError) as mistake:
        server.is_spoilt = True
        return Result(scenario, None, 0.0, [f"could not be played: {type(mistake).__name__}: {mistake}"])

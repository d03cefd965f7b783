"""The plugin processes that are measured, each driven over stdio as Dify's daemon drives it."""

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import floor
from bench.server import finished
from comfybridge.simulator.answer import Answer, ProtocolError
from comfybridge.simulator.daemon import PluginDaemon, PluginDiedError, PluginError

REPOSITORY = Path(__file__).resolve().parents[1]

_FIRST_SEEDS = 2**40


class CallError(Exception):
    """A call did not bring its one picture; the text says whose and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that brought a picture, and how long it took as the daemon sees it."""

    seconds: float
    answer: Answer

    @property
    def prompt_id(self) -> str:
        return str(self.answer.variables["prompt_id"])

    @property
    def said(self) -> int:
        """The bytes of what Dify got beside the picture."""
        return sum(len(json.dumps(m.message).encode()) for m in self.answer.messages if m.type != "blob")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A running plugin."""

    name: str
    daemon: PluginDaemon
    provider: str
    tool: str
    parameters: Mapping[str, Any]

    def picture(self, base_url: str, seed: int) -> Call:
        parameters = {**self.parameters, "seed": str(seed)}
        started = time.perf_counter()
        try:
            answer = self.daemon.call_tool(self.provider, self.tool, parameters, credentials={"base_url": base_url})
        except (PluginError, PluginDiedError, ProtocolError, TimeoutError) as exc:
            raise CallError(f"{self.name}: {exc}") from exc
        seconds = time.perf_counter() - started
        if len(answer.files) != 1:
            raise CallError(f"{self.name}: {len(answer.files)} pictures instead of one")
        return Call(seconds, answer)

    def workflow(self, base_url: str, workflow: str, **parameters: Any) -> Answer:
        """What ours saves by a workflow of somebody's."""
        parameters = {"workflow": workflow, **parameters}
        try:
            return self.daemon.call_tool(self.provider, "run_workflow", parameters, credentials={"base_url": base_url})
        except (PluginError, PluginDiedError, ProtocolError, TimeoutError) as exc:
            raise CallError(f"{self.name}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Pair:
    """Both plugins, each in a process of its own."""

    ours: Plugin
    floor: Plugin


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked for, the floor's plugin for it, and the graph that both send."""

    parameters: Mapping[str, Any]
    floor: Path
    graph: Mapping[str, Any]

    @contextmanager
    def start_ours(self) -> Iterator[Plugin]:
        with PluginDaemon(REPOSITORY) as daemon:
            yield Plugin("ours", daemon, "comfyui", "text2image", self.parameters)

    @contextmanager
    def start_floor(self) -> Iterator[Plugin]:
        with PluginDaemon(self.floor) as daemon:
            yield Plugin("floor", daemon, floor.PROVIDER, floor.TOOL, self.parameters)

    @contextmanager
    def start(self) -> Iterator[Pair]:
        with self.start_ours() as ours, self.start_floor() as raw:
            yield Pair(ours, raw)


def prepare(base_url: str, parameters: Mapping[str, Any], folder: Path) -> Case:
    """Have our plugin make one picture, and write the floor's plugin from what it sent and said.

    Raises:
        CallError: there is none to be had from this server.
    """
    seed = next(seeds())
    with PluginDaemon(REPOSITORY) as daemon:
        call = Plugin("ours", daemon, "comfyui", "text2image", parameters).picture(base_url, seed)
    entry = finished(base_url, call.prompt_id)
    written = floor.write_floor(folder, entry, call.answer.json[0], seed)
    return Case(parameters, written, entry["prompt"][2])


def seeds() -> Iterator[int]:
    """Seeds that no server has seen, so that no picture comes out of its cache."""
    return itertools.count(random.randrange(_FIRST_SEEDS))  # noqa: S311  # nothing secret

"""One prompt's execution, event by event (execution.py, PromptExecutor.execute_async and execute)."""

import asyncio
import json
import struct
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from comfybridge.declared import Definition
from comfybridge.simulator import nodes, outputs_media
from comfybridge.simulator.caching import Cache, Entry
from comfybridge.simulator.call import Call, NodeError, full_name
from comfybridge.simulator.definitions import Definitions
from comfybridge.simulator.faults import Faults, NodeFailure, NoOutput, OutOfMemory
from comfybridge.simulator.files import Files
from comfybridge.simulator.graph import Schedule
from comfybridge.simulator.previews import preview_messages
from comfybridge.simulator.progress import Progress
from comfybridge.simulator.sockets import Sockets
from comfybridge.validation import Prompt, is_link

NODE_FAULTS = (OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)
"""What a node here may raise on odd values; ComfyUI reports whatever a node raises as ``execution_error``."""
OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)
TRACEBACK = ['  File "/srv/comfyui/execution.py", line 518, in execute\n    output_data = await get_output_data(obj)\n']
"""ComfyUI leaks the server's paths like this."""
PNG_PREVIEW = struct.pack(">II", 1, 2)
"""Binary event PREVIEW_IMAGE, format PNG: what SaveImageWebsocket sends in front of each picture."""
Result = TypeVar("Result")


class Interrupted(Exception):
    """Somebody asked for the running prompt to stop."""


class WorkerDied(Exception):
    """ComfyUI's worker thread would end here, and leave its prompt running for ever."""


@dataclass
class Machine:
    """What outlives a single prompt: the server's side of an execution."""

    files: Files
    definitions: Definitions
    cache: Cache
    sockets: Sockets
    faults: Faults
    threads: Executor
    # Waits while held, for the given seconds, and raises Interrupted.
    pause: Callable[..., Any]
    work: float
    previews: bool
    temp_suffix: str
    client_id: str | None = None
    last_node_id: str | None = None


@dataclass
class Run:
    machine: Machine
    prompt_id: str
    prompt: Prompt
    extra_data: dict[str, Any]
    outputs: list[str]
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    executed: dict[str, None] = field(default_factory=dict)
    reported: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Entry] = field(default_factory=dict)
    has_worked: bool = False
    is_mute: bool = False

    async def execute(self) -> bool:
        """Run to the end; tell whether the prompt succeeded.

        Raises:
            WorkerDied: a node has no inputs at all, which validation overlooks when no output needs it.
        """
        machine = self.machine
        machine.client_id = self.extra_data.get("client_id")
        self.is_mute = machine.faults.take(NoOutput) is not None
        self._message("execution_start", {"prompt_id": self.prompt_id})
        if any("inputs" not in node for node in self.prompt.values()):
            raise WorkerDied("a node without inputs")
        machine.cache.start(self.prompt)
        self.progress = Progress(self.prompt_id, machine.sockets, machine.client_id)
        cached = [node_id for node_id in self.prompt if machine.cache.get(node_id) is not None]
        self._message("execution_cached", {"nodes": cached, "prompt_id": self.prompt_id})
        schedule = Schedule(self.prompt, machine.definitions, lambda node_id: machine.cache.get(node_id) is not None)
        for node_id in self.outputs:
            schedule.add(node_id)
        succeeded = await self._work_off(schedule)
        machine.last_node_id = None
        return succeeded

    @property
    def history(self) -> dict[str, Any]:
        return {
            "outputs": {node_id: reported["output"] for node_id, reported in self.reported.items()},
            "meta": {node_id: reported["meta"] for node_id, reported in self.reported.items()},
        }

    async def _work_off(self, schedule: Schedule) -> bool:
        while schedule:
            node_id = schedule.pick()
            if node_id is None:
                first = schedule.remaining()[0]
                cycle = NodeError("Dependency cycle detected", "graph.DependencyCycleError")
                self._failed(first, {}, cycle, tips="", traceback=[])
                return False
            inputs: dict[str, Any] = {}
            try:
                is_complete = await self._node(node_id, schedule, inputs)
            except Interrupted:
                self._interrupted(node_id)
                return False
            except NodeError as error:
                is_oom = error.exception_type == "torch.OutOfMemoryError"
                self._failed(node_id, inputs, error, tips=OUT_OF_MEMORY_TIPS if is_oom else "", traceback=TRACEBACK)
                return False
            except NODE_FAULTS as fault:
                raised = NodeError(str(fault), full_name(fault))
                self._failed(node_id, inputs, raised, tips="", traceback=TRACEBACK)
                return False
            if is_complete:
                schedule.complete(node_id)
        self._message("execution_success", {"prompt_id": self.prompt_id})
        return True

    async def _node(self, node_id: str, schedule: Schedule, inputs: dict[str, Any]) -> bool:
        """Run one node; false when it waits for an input that it just asked for."""
        machine = self.machine
        cached = machine.cache.get(node_id)
        if cached is not None:
            self._reuse(node_id, cached)
            return True
        self.progress.start(node_id)
        class_type = self.prompt[node_id]["class_type"]
        inputs.update(self._inputs(node_id))
        if machine.client_id is not None:
            machine.last_node_id = node_id
            data = {"node": node_id, "display_node": node_id, "prompt_id": self.prompt_id}
            machine.sockets.send("executing", data, machine.client_id)
        call = Call(self._definition(node_id), inputs, machine.files, self._metadata(), machine.temp_suffix)
        if (choose := nodes.LAZY_CHOICE.get(class_type)) and (wanted := self._missing(node_id, choose(call))):
            schedule.demand(node_id, wanted)
            return False
        await machine.pause(0, node_id)
        self._raise_injected(node_id, class_type)
        entry = await self._compute(node_id, call)
        machine.cache.set(node_id, entry)
        self.results[node_id] = entry
        self.progress.finish(node_id)
        self.executed[node_id] = None
        return True

    def _reuse(self, node_id: str, entry: Entry) -> None:
        client_id = self.machine.client_id
        # Without a client_id a cached output is not even noted for history (execution.py, execute).
        if client_id is not None:
            output = entry.ui["output"] if entry.ui else None
            self._send_executed(node_id, output)
            if entry.ui is not None:
                self.reported[node_id] = entry.ui
        self.progress.finish(node_id)
        self.results[node_id] = entry

    async def _compute(self, node_id: str, call: Call) -> Entry:
        if call.class_type in nodes.SAMPLERS:
            return Entry(await self._sample(node_id, call), None)
        if not call.definition.is_output:
            total = nodes.tiles(call)
            for tile in range(1, total + 1):
                await self.machine.pause(0)
                self.progress.update(node_id, tile, total)
            return Entry(await self._in_thread(lambda: nodes.compute(call)), None)
        await self._work_without_sampler()
        if self.is_mute:
            return Entry((), None)
        saved = await self._in_thread(lambda: outputs_media.save(call))
        for number, png in enumerate(saved.sent):
            self.progress.update(node_id, number, len(saved.sent))
            self.machine.sockets.send_bytes(PNG_PREVIEW + png, self.machine.client_id)
        if not saved.ui:
            return Entry((), None)
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        self.reported[node_id] = {"meta": meta, "output": saved.ui}
        if self.machine.client_id is not None:
            self._send_executed(node_id, saved.ui)
        return Entry((), self.reported[node_id])

    async def _sample(self, node_id: str, call: Call) -> tuple[Any, ...]:
        machine = self.machine
        total = nodes.steps(call)
        sampled = nodes.compute(call)
        wants_previews = self.extra_data.get("preview_method", "auto" if machine.previews else "none") != "none"
        with_metadata = machine.sockets.supports_metadata(machine.client_id)
        preview = partial(preview_messages, prompt_id=self.prompt_id, node_id=node_id, with_metadata=with_metadata)
        self.has_worked = True
        for step in range(1, total + 1):
            await machine.pause(machine.work / total)
            if not wants_previews:
                self.progress.update(node_id, step, total)
                continue
            before, after = await self._in_thread(partial(preview, sampled[0], step / total))
            self.progress.update(node_id, step, total, before=before, after=after)
        return sampled

    async def _work_without_sampler(self) -> None:
        if not self.has_worked:
            self.has_worked = True
            await self.machine.pause(self.machine.work)

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.machine.threads, function)

    def _definition(self, node_id: str) -> Definition:
        node = self.prompt[node_id]
        return self.machine.definitions.get(node["class_type"]).expanded(node["inputs"])

    def _inputs(self, node_id: str) -> dict[str, Any]:
        known = self._definition(node_id).inputs
        inputs = {}
        for name, value in self.prompt[node_id]["inputs"].items():
            if not is_link(value):
                if name in known:
                    inputs[name] = value
                continue
            entry = self.results.get(value[0]) or self.machine.cache.get(value[0])
            inputs[name] = entry.outputs[int(value[1])] if entry else None
        return inputs

    def _missing(self, node_id: str, name: str) -> str | None:
        """Name a lazy input if it is a link that has not been followed yet."""
        value = self.prompt[node_id]["inputs"].get(name)
        if is_link(value) and value[0] not in self.results and self.machine.cache.get(value[0]) is None:
            return name
        return None

    def _metadata(self) -> dict[str, str]:
        pnginfo = self.extra_data.get("extra_pnginfo") or {}
        return {"prompt": json.dumps(self.prompt), **{key: json.dumps(value) for key, value in pnginfo.items()}}

    def _raise_injected(self, node_id: str, class_type: str) -> None:
        faults = self.machine.faults
        if failure := faults.take(NodeFailure, lambda fault: fault.node in (node_id, class_type)):
            raise NodeError(failure.message, failure.exception_type)
        has_sampler = any(node["class_type"] in nodes.SAMPLERS for node in self.prompt.values())
        if (class_type in nodes.SAMPLERS or not has_sampler) and faults.take(OutOfMemory):
            raise NodeError("Allocation on device ", "torch.OutOfMemoryError")

    def _send_executed(self, node_id: str, output: dict[str, Any] | None) -> None:
        data = {"node": node_id, "display_node": node_id, "output": output, "prompt_id": self.prompt_id}
        self.machine.sockets.send("executed", data, self.machine.client_id)

    def _interrupted(self, node_id: str) -> None:
        data = {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": self.prompt[node_id]["class_type"],
            "executed": list(self.executed),
        }
        self._message("execution_interrupted", data, is_for_all=True)

    def _failed(
        self, node_id: str, inputs: dict[str, Any], error: NodeError, *, tips: str, traceback: list[str]
    ) -> None:
        data = {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": self.prompt[node_id]["class_type"],
            "executed": list(self.executed),
            "exception_message": f"{error.message}\n{tips}",
            "exception_type": error.exception_type,
            "traceback": traceback,
            "current_inputs": {name: [_shown(value)] for name, value in inputs.items()},
            "current_outputs": list(self.prompt),
        }
        self._message("execution_error", data)

    def _message(self, event: str, data: dict[str, Any], *, is_for_all: bool = False) -> None:
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, data))
        client_id = self.machine.client_id
        if client_id is not None or is_for_all:
            self.machine.sockets.send(event, data, client_id)


def _shown(value: object) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)

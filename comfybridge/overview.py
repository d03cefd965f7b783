"""What servers are and have: versions, memory, queue, the templates that run there, and names to choose from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge import library, preflight
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.template import Template

_GIB = 2**30
_LISTS: Mapping[str, tuple[str, str]] = {
    "models": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "loras": ("LoraLoader", "lora_name"),
    "samplers": ("KSampler", "sampler_name"),
    "schedulers": ("KSampler", "scheduler"),
}


@dataclass(frozen=True, slots=True)
class Summary:
    """One server; ``memory`` is the free and the whole memory of each device, in GiB."""

    base_url: str
    version: str
    memory: tuple[tuple[str, float, float], ...]
    waiting: int


@dataclass(frozen=True, slots=True)
class Lacking:
    """A template that a server cannot run, and the model files and node classes it lacks."""

    template: Template
    lacks: tuple[str, ...]


def summary(client: Client, deadline: Deadline) -> Summary:
    """Raises Unavailable when the server does not answer, or is no ComfyUI."""
    stats = client.system_stats(deadline)
    devices = stats.get("devices")
    memory = tuple(
        (_short(str(device.get("name", ""))), device.get("vram_free", 0) / _GIB, device.get("vram_total", 0) / _GIB)
        for device in (devices if isinstance(devices, list) else [])
    )
    return Summary(
        base_url=client.base_url,
        version=str(stats["system"]["comfyui_version"]),
        memory=memory,
        waiting=client.queue_remaining(deadline),
    )


def templates(
    client: Client, deadline: Deadline, others: Sequence[Template] = ()
) -> tuple[list[Template], list[Lacking]]:
    """The templates that run on the server as it is, and those that lack something; ``others`` are the caller's own."""
    able: list[Template] = []
    lacking: list[Lacking] = []
    for template in (*library.templates(), *others):
        definitions = client.definitions(template.class_types(), deadline)
        if preflight.can_run(template.prompt, definitions):
            able.append(template)
            continue
        problems = preflight.check(preflight.repair(template.prompt, definitions).prompt, definitions)
        lacking.append(Lacking(template, tuple(dict.fromkeys(_lacks(template, problems)))))
    return able, lacking


def names(kind: str, client: Client, deadline: Deadline) -> list[str]:
    """What a caller can choose: ``workflows``, ``models``, ``loras``, ``samplers`` or ``templates`` of the server."""
    ask: Mapping[str, Callable[[], list[str]]] = {
        "workflows": lambda: client.workflows(deadline),
        "templates": lambda: [template.name for template in templates(client, deadline)[0]],
        "models": lambda: [*_listed("models", client, deadline), *_listed("diffusion_models", client, deadline)],
        "loras": lambda: _listed("loras", client, deadline),
        "samplers": lambda: [*_listed("samplers", client, deadline), *_listed("schedulers", client, deadline)],
    }
    return ask[kind]()


def _listed(kind: str, client: Client, deadline: Deadline) -> list[str]:
    class_type, name = _LISTS[kind]
    return preflight.options(client.definitions([class_type], deadline), class_type, name) or []


def _lacks(template: Template, problems: Sequence[preflight.Problem]) -> list[str]:
    lacks: list[str] = []
    for problem in problems:
        node: Mapping[str, Any] = template.prompt.get(problem.node_id, {})
        if problem.code == "missing_node":
            lacks.append(str(node.get("class_type")))
        elif problem.code not in preflight.INPUT_FILE:
            lacks.append(str(node.get("inputs", {}).get(problem.input, problem.input)))
    return lacks


def _short(device: str) -> str:
    """``cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync`` without the allocator."""
    return device.partition(" : ")[0].strip()

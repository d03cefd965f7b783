"""An API-format graph as a value: trace what its inputs mean, set them, insert LoRAs. Pure.

A graph maps node ids to ``{"class_type", "inputs", "_meta"}``; ids are strings such as ``"3"`` or, inside a subgraph,
``"57:27"``. An input is a literal or a link ``[node_id, output_index]``. Tracing follows links by the names of inputs,
so that it works for node classes that nobody listed here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Prompt: TypeAlias = Mapping[str, Mapping[str, Any]]
Definitions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""class_type -> its entry of ``GET /object_info/{class_type}``."""


class InputRef(NamedTuple):
    """One input of one node."""

    node_id: str
    input: str


class Link(NamedTuple):
    """Where a value comes from: an output of a node."""

    node_id: str
    output: int


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA file and its strength, the same for the model and the text encoder."""

    name: str
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Roles:
    """What a graph's inputs mean; a role that was not found is absent.

    A role may name several inputs (the seeds of two stages): a value is set in all of them. ``model_source`` and
    ``clip_source`` are the outputs a LoRA has to be put behind, ``None`` where the graph has none. ``outputs`` are the
    nodes that save something, in the graph's order.
    """

    inputs: Mapping[str, tuple[InputRef, ...]]
    model_source: Link | None
    clip_source: Link | None
    outputs: tuple[str, ...]

    def __getitem__(self, role: str) -> tuple[InputRef, ...]:
        return self.inputs.get(role, ())


ROLES = (
    "positive",
    "negative",
    "seed",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "denoise",
    "width",
    "height",
    "batch",
    "model",
)
"""What ``trace`` looks for; the names that sidecars use too."""

# Names of inputs, as ComfyUI's own nodes and the common packs spell them.
_TEXT = ("text", "prompt", "text_g", "text_l", "clip_g", "clip_l", "t5xxl", "user_prompt")
_PRIMITIVE = ("value", "text", "string", "prompt", "seed", "noise_seed", "int", "float", "number")
_SEED = ("seed", "noise_seed")
_MODEL_FILE = ("ckpt_name", "unet_name", "model_name")
_BATCH = ("batch_size", "batch")
_SAMPLING = {
    "steps": ("steps",),
    "cfg": ("cfg",),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
    "denoise": ("denoise",),
}
# Inputs of a sampler behind which its settings live in other nodes (SamplerCustomAdvanced and friends).
_SETTINGS = ("guider", "noise", "sampler", "sigmas")
_LATENT = ("latent_image", "latent", "samples")
# What a conditioning node may take besides conditioning; no prompt text lies behind these.
_NOT_CONDITIONING = frozenset(
    ("clip", "clip_vision_output", "control_net", "image", "latent", "mask", "model", "pixels", "style_model", "vae")
)
# Turns a conditioning into nothing: whatever text lies behind it has no effect.
_ZEROES = frozenset(("ConditioningZeroOut",))


def as_link(value: Any) -> Link | None:
    """Read an input's value as a link; ``None`` when it is a literal."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):  # noqa: PLR2004
        return Link(value[0], value[1])
    return None


def trace(prompt: Prompt, definitions: Definitions) -> Roles:
    """Find out which inputs of the graph hold the prompt text, the seed, the size and so on.

    ``definitions`` tells the output nodes; where it lacks a class, ``Save…`` and ``Preview…`` count as outputs.
    """
    outputs = output_nodes(prompt, definitions)
    used = _upstream(prompt, outputs) if outputs else set(prompt)
    samplers = _in_stage_order(prompt, [node_id for node_id in prompt if node_id in used and _samples(prompt[node_id])])
    if not samplers:
        return Roles({}, None, None, outputs)

    found: dict[str, list[InputRef]] = {}
    encoders: list[str] = []
    for sampler in samplers:
        for role, slot in (("positive", 0), ("negative", 1)):
            for encoder in _encoders(prompt, sampler, slot):
                encoders.append(encoder)
                # One encoder on both sides (common where cfg is 1) is the positive prompt and no other.
                texts = [ref for ref in _texts(prompt, encoder) if not slot or ref not in found.get("positive", [])]
                found.setdefault(role, []).extend(texts)
        if prompt[sampler]["inputs"].get("add_noise") != "disable":
            found.setdefault("seed", []).extend(_settings(prompt, sampler, _SEED))
    # A first stage without a text is an auxiliary one, such as a depth estimate for a ControlNet.
    main = next((sampler for sampler in samplers if any(_encoders(prompt, sampler, 0))), samplers[0])
    for role, names in _SAMPLING.items():
        found[role] = list(_settings(prompt, main, names))
    size = _chain_end(prompt, main, _LATENT, ("width", "height"))
    if size is not None:
        found["width"] = _settable(prompt, size, ("width",))
        found["height"] = _settable(prompt, size, ("height",))
        found["batch"] = _settable(prompt, size, _BATCH)
    loader = _model_loader(prompt, main)
    if loader is not None:
        found["model"] = _settable(prompt, loader.node_id, _MODEL_FILE)
    return Roles(
        {role: tuple(dict.fromkeys(refs)) for role, refs in found.items() if refs},
        loader,
        _clip_source(prompt, encoders),
        outputs,
    )


def output_nodes(prompt: Prompt, definitions: Definitions) -> tuple[str, ...]:
    """The nodes that save or show something, in the graph's order."""
    return tuple(node_id for node_id in prompt if _is_output(prompt[node_id], definitions))


def fill(prompt: Prompt, values: Mapping[InputRef, Any]) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph with the values set, as data: no text is ever spliced into JSON."""
    filled = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in prompt.items()}
    for ref, value in values.items():
        filled[ref.node_id]["inputs"][ref.input] = value
    return filled


def add_loras(prompt: Prompt, roles: Roles, loras: Sequence[Lora]) -> dict[str, dict[str, Any]]:
    """Return a copy of the graph with the LoRAs put right behind its model loader, in the given order.

    With a traced text encoder ``LoraLoader`` is used, else ``LoraLoaderModelOnly``. The graph must have a model source.
    """
    source = roles.model_source
    if source is None:
        raise ValueError("a graph without a model loader takes no LoRA")
    model, clip = source, roles.clip_source
    added: dict[str, dict[str, Any]] = {}
    for number, lora in enumerate(loras, start=1):
        node_id = _free_id(prompt, f"lora{number}")
        inputs: dict[str, Any] = {
            "lora_name": lora.name,
            "strength_model": lora.strength,
            "model": [model.node_id, model.output],
        }
        if clip is not None:
            inputs |= {"strength_clip": lora.strength, "clip": [clip.node_id, clip.output]}
            clip = Link(node_id, 1)
        model = Link(node_id, 0)
        class_type = "LoraLoaderModelOnly" if clip is None else "LoraLoader"
        added[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": f"LoRA {lora.name}"}}
    rewired = {source: [model.node_id, model.output]}
    if roles.clip_source is not None and clip is not None:
        rewired[roles.clip_source] = [clip.node_id, clip.output]
    moved = {
        InputRef(node_id, name): rewired[link]
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if (link := as_link(value)) in rewired
    }
    return {**fill(prompt, moved), **added}


def title(prompt: Prompt, node_id: str) -> str:
    """The node's title as its author wrote it, else its class."""
    node = prompt.get(node_id, {})
    return str((node.get("_meta") or {}).get("title") or node.get("class_type") or node_id)


def class_types(prompt: Prompt) -> frozenset[str]:
    return frozenset(str(node["class_type"]) for node in prompt.values())


def _is_output(node: Mapping[str, Any], definitions: Definitions) -> bool:
    definition = definitions.get(node["class_type"])
    if definition is None:
        return str(node["class_type"]).startswith(("Save", "Preview"))
    return bool(definition.get("output_node"))


def _links(node: Mapping[str, Any]) -> Iterator[tuple[str, Link]]:
    for name, value in node["inputs"].items():
        link = as_link(value)
        if link is not None:
            yield name, link


def _linked(prompt: Prompt, node_id: str, names: Iterable[str]) -> Link | None:
    """The first of the named inputs that is wired to a node of the graph."""
    inputs = prompt[node_id]["inputs"]
    for name in names:
        link = as_link(inputs.get(name))
        if link is not None and link.node_id in prompt:
            return link
    return None


def _upstream(prompt: Prompt, node_ids: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(node_ids)
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen and node_id in prompt:
            seen.add(node_id)
            waiting += [link.node_id for _, link in _links(prompt[node_id])]
    return seen


def _samples(node: Mapping[str, Any]) -> bool:
    wired = {name for name, _ in _links(node)}
    if "guider" in wired:
        return True
    return "positive" in wired and any(name in node["inputs"] for name in _SEED)


def _in_stage_order(prompt: Prompt, samplers: list[str]) -> list[str]:
    """First stage first: a later stage has the earlier ones upstream."""
    return sorted(samplers, key=lambda node_id: len(_upstream(prompt, [node_id]).intersection(samplers)))


def _setting_nodes(prompt: Prompt, sampler: str) -> list[str]:
    """The sampler and the nodes that hold its settings: guider, noise, sampler object, sigmas."""
    nodes = [sampler]
    nodes += [link.node_id for name in _SETTINGS if (link := _linked(prompt, sampler, (name,)))]
    return nodes


def _settings(prompt: Prompt, sampler: str, names: Sequence[str]) -> list[InputRef]:
    for node_id in _setting_nodes(prompt, sampler):
        if refs := _settable(prompt, node_id, names):
            return refs
    return []


def _settable(prompt: Prompt, node_id: str, names: Sequence[str]) -> list[InputRef]:
    """The first named input that the node has, followed over wires to the literal that feeds it."""
    seen: set[str] = set()
    while node_id not in seen:
        seen.add(node_id)
        inputs = prompt[node_id]["inputs"]
        name = next((name for name in names if name in inputs), None)
        if name is None:
            return []
        link = as_link(inputs[name])
        if link is None:
            return [InputRef(node_id, name)]
        if link.node_id not in prompt:
            return []
        node_id, names = link.node_id, _PRIMITIVE
    return []


def _encoders(prompt: Prompt, sampler: str, slot: int) -> list[str]:
    """The text encoders behind the sampler's positive (slot 0) or negative (slot 1) conditioning."""
    names = ("negative",) if slot else ("positive", "conditioning", "cond1")
    for node_id in _setting_nodes(prompt, sampler):
        link = _linked(prompt, node_id, names)
        if link is not None:
            return list(_encoders_behind(prompt, link, slot, set()))
    return []


def _encoders_behind(prompt: Prompt, link: Link, slot: int, seen: set[str]) -> Iterator[str]:
    node = prompt.get(link.node_id)
    if node is None or link.node_id in seen or node["class_type"] in _ZEROES:
        return
    seen.add(link.node_id)
    wired = dict(_links(node))
    if "positive" in wired and "negative" in wired:
        # A node with both (ControlNetApplyAdvanced and its kin) hands them on in this order.
        side = wired["negative" if link.output == 1 else "positive"]
        yield from _encoders_behind(prompt, side, slot, seen)
    elif _texts(prompt, link.node_id):
        yield link.node_id
    else:
        for name, behind in wired.items():
            if name not in _NOT_CONDITIONING:
                yield from _encoders_behind(prompt, behind, slot, seen)


def _texts(prompt: Prompt, node_id: str) -> list[InputRef]:
    inputs = prompt[node_id]["inputs"]
    refs = [ref for name in _TEXT if name in inputs for ref in _settable(prompt, node_id, (name,))]
    return [ref for ref in refs if isinstance(prompt[ref.node_id]["inputs"][ref.input], str)]


def _chain_end(prompt: Prompt, node_id: str, along: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Follow the named inputs upwards to the first node that has all wanted inputs."""
    seen: set[str] = set()
    link = _linked(prompt, node_id, along)
    while link is not None and link.node_id not in seen:
        seen.add(link.node_id)
        if all(name in prompt[link.node_id]["inputs"] for name in wanted):
            return link.node_id
        link = _linked(prompt, link.node_id, along)
    return None


def _model_loader(prompt: Prompt, sampler: str) -> Link | None:
    for node_id in _setting_nodes(prompt, sampler):
        link = _linked(prompt, node_id, ("model",))
        if link is not None:
            return _source(prompt, link, "model")
    return None


def _clip_source(prompt: Prompt, encoders: Iterable[str]) -> Link | None:
    for encoder in encoders:
        link = _linked(prompt, encoder, ("clip",))
        if link is not None:
            return _source(prompt, link, "clip")
    return None


def _source(prompt: Prompt, link: Link, name: str) -> Link:
    """Follow one input upwards to the output that nothing of its kind feeds."""
    seen = {link.node_id}
    while (behind := _linked(prompt, link.node_id, (name,))) is not None and behind.node_id not in seen:
        seen.add(behind.node_id)
        link = behind
    return link


def _free_id(prompt: Prompt, wanted: str) -> str:
    while wanted in prompt:
        wanted += "_"
    return wanted

"""Find out what a graph's inputs mean: the prompt texts, the seed, the size and so on. Pure.

Everything starts at the stages, the nodes that make something, and follows wires from there by the names of inputs.
What users have marked wins over what is found.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import marks
from comfybridge.graph import Definitions, Graph, InputRef, Link, Prompt, output_kind, output_nodes, title
from comfybridge.marks import NAMES
from comfybridge.stages import LATENT, Stage, find_stages, goes_on, main_stage, setting, setting_nodes
from comfybridge.wires import effective, settable, settable_or_end, source, texts, uploads

_SEED = NAMES["seed"]
_FROM_MAIN = ("steps", "cfg", "sampler", "scheduler", "denoise")
# What most graphs have; a node that makes something by itself has its settings behind a service.
_EXPECTED = ("positive", "negative", "seed", "steps", "cfg", "sampler", "scheduler", "width", "height", "model")
_EXPECTED_OF_SERVICE = ("positive", "negative", "seed", "width", "height", "model")
_SIZELESS = frozenset(("audio", "text"))
_MODEL = ("model", "model1")
# Wires that carry a picture on, as a latent or not: what is encoded has the size of the picture.
_PICTURE = (*LATENT, "pixels", "image", "images", "input", "image1", "init_image")
# A literal width in a node that has one of these belongs to the picture that is made, not to one that comes in.
_FOLLOWS_SIZE = frozenset(("clip", "model", "conditioning", "conditioning_to", "steps", "positive"))
_SIDES = {
    "width": "width",
    "target_width": "width",
    "x": "width",
    "height": "height",
    "target_height": "height",
    "y": "height",
}
_SPLITS = ("start_at_step", "end_at_step")
_LORA = re.compile(r"lora(_name)?(_?\d+)?")
_BATCH = (*NAMES["batch"], "amount")


@dataclass(frozen=True, slots=True)
class Note:
    """What people should know of a role: why it is absent, or what its value leaves untouched."""

    role: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Roles:
    """What a graph's inputs mean; a role that was not found is absent.

    A role may name several inputs (the seeds of two stages): a value is set in all of them. ``model_source`` and
    ``clip_source`` are the outputs a LoRA has to be put behind, ``None`` where the graph has none. ``outputs`` are the
    nodes that save something, in the graph's order, and ``kinds`` what each of them puts out. ``named`` are the inputs
    that users gave names of their own. ``scales`` are inputs that keep their proportion to a role (the step at which
    the second of two stages begins, the size it is scaled up to), ``placeholders`` what to replace in a text that holds
    a placeholder.
    """

    inputs: Mapping[str, tuple[InputRef, ...]]
    model_source: Link | None
    clip_source: Link | None
    outputs: tuple[str, ...]
    named: Mapping[str, tuple[InputRef, ...]] = field(default_factory=dict)
    scales: Mapping[str, tuple[InputRef, ...]] = field(default_factory=dict)
    placeholders: Mapping[tuple[str, InputRef], str] = field(default_factory=dict)
    # These are said about the graph and no part of what it means.
    expected: tuple[str, ...] = field(default=_EXPECTED, compare=False)
    kinds: Mapping[str, str] = field(default_factory=dict, compare=False)
    notes: tuple[Note, ...] = field(default=(), compare=False)

    def __getitem__(self, role: str) -> tuple[InputRef, ...]:
        return self.inputs.get(role, ())

    @property
    def missing(self) -> tuple[str, ...]:
        """The roles that graphs of this kind have, that were not found here, and whose absence no note explains."""
        explained = {note.role for note in self.notes}
        return tuple(role for role in self.expected if role not in self.inputs and role not in explained)


def trace(prompt: Prompt, definitions: Definitions) -> Roles:
    """Find out which inputs of the graph hold the prompt text, the seed, the size and so on.

    ``definitions`` tells the output nodes, the uploads and the nodes that make something by themselves; where it lacks
    a class, names decide.
    """
    graph = Graph(prompt, definitions)
    outputs = output_nodes(prompt, definitions)
    reached = effective(graph, outputs) if outputs else set(prompt)
    used = [node_id for node_id in prompt if node_id in reached]
    stages = find_stages(graph, used)
    found: dict[str, list[InputRef]] = {role: [] for role in marks.ROLES}
    scales: dict[str, list[InputRef]] = {}
    notes: list[Note] = []
    asides: list[Note] = []
    kinds = {node_id: output_kind(prompt, definitions, node_id) for node_id in outputs}
    has_size = not kinds or not _SIZELESS.issuperset(kinds.values())
    expected: tuple[str, ...] = _EXPECTED
    model = clip = None
    if stages:
        main = main_stage(graph, stages, outputs)
        asides += _trace_texts(graph, stages, main, found, notes)
        expected = _EXPECTED_OF_SERVICE if main.makes_itself else _EXPECTED
        _trace_settings(graph, stages, main, found, scales)
        _trace_size(graph, used, main, found, scales, notes)
        model = _model_source(graph, main)
        loader = main.node_id if model is None else _origin(graph, model, _MODEL).node_id
        found["model"] = settable(graph, loader, NAMES["model"])
        clip = _clip_source(graph, stages)
    _trace_files(graph, used, found, notes)
    found["loras"] = [ref for node_id in used for ref in _loras(graph, node_id)]
    marked = marks.read(graph, used)
    for role, refs in marked.roles.items():
        found[role] = [*refs, *(ref for ref in found[role] if role in marks.FILES and ref not in refs)]
    for role in ("positive", "negative"):
        found[role] = found[role] or _by_half_a_title(graph, used, role, found)
    inputs = {role: tuple(dict.fromkeys(refs)) for role, refs in found.items() if refs}
    return Roles(
        inputs,
        model,
        clip,
        outputs,
        named={name: tuple(refs) for name, refs in marked.named.items()},
        scales={role: tuple(dict.fromkeys(refs)) for role, refs in scales.items() if role in inputs and refs},
        placeholders=marked.placeholders,
        expected=tuple(role for role in expected if has_size or role not in ("width", "height")),
        kinds=kinds,
        notes=(*asides, *(note for note in notes if note.role not in inputs)),
    )


def _trace_texts(
    graph: Graph, stages: Sequence[Stage], main: Stage, found: dict[str, list[InputRef]], notes: list[Note]
) -> list[Note]:
    """The prompts of the main stage and of those that go on with its picture, and the seeds of all.

    Tells which prompts are left alone.
    """
    others: list[InputRef] = []
    for stage in stages:
        for role, own, wanted in zip(("positive", "negative"), stage.texts, main.texts, strict=True):
            said, meant = ([graph.value(ref) for ref in refs] for refs in (own, wanted))
            if goes_on(graph, stage, main) or said == meant:
                # One encoder on both sides (common where cfg is 1) is the positive prompt and no other.
                found[role] += [ref for ref in own if role == "positive" or ref not in found["positive"]]
            elif role == "positive":
                others += own
        if graph.inputs(stage.node_id).get("add_noise") not in ("disable", False):
            found["seed"] += setting(graph, stage.node_id, _SEED)
    if not found["positive"]:
        notes.append(_note_no_text(graph, main))
    if not found["negative"]:
        notes.append(_note_no_negative(main))
    others = [ref for ref in dict.fromkeys(others) if ref not in found["positive"]]
    if not others:
        return []
    where = ", ".join(f"{ref.node_id}.{ref.input} ({title(graph.prompt, ref.node_id)})" for ref in others)
    english = f"other pictures' prompts stay as they are: {where}"
    return [Note("positive", english, f"其他画面的提示词保持不变：{where}")]


def _trace_settings(
    graph: Graph,
    stages: Sequence[Stage],
    main: Stage,
    found: dict[str, list[InputRef]],
    scales: dict[str, list[InputRef]],
) -> None:
    """The main stage's settings; stages that share one run of steps among them share these as well.

    Such slices (KSamplerAdvanced with ``start_at_step``) get every value that they have in common, and the steps at
    which one hands over to the next keep their proportion.
    """
    slices = [stage for stage in stages if stage != main and _is_slice(graph, stage) and goes_on(graph, stage, main)]
    sharing = [main, *(slices if _is_slice(graph, main) else ())]
    for role in _FROM_MAIN:
        mine = setting(graph, main.node_id, NAMES[role])
        for stage in sharing:
            theirs = setting(graph, stage.node_id, NAMES[role])
            if [graph.value(ref) for ref in theirs] == [graph.value(ref) for ref in mine]:
                found[role] += theirs
    steps = next((graph.value(ref) for ref in found["steps"]), None)
    for stage in sharing:
        if isinstance(steps, int) and set(setting(graph, stage.node_id, NAMES["steps"])) <= set(found["steps"]):
            splits = [ref for name in _SPLITS for ref in settable(graph, stage.node_id, (name,))]
            splits += [
                ref
                for node_id in setting_nodes(graph, stage.node_id)[1:]
                for ref in settable(graph, node_id, ("step",))
            ]
            kept = [ref for ref in splits if isinstance(at := graph.value(ref), int) and 0 < at < steps]
            scales.setdefault("steps", []).extend(kept)


def _is_slice(graph: Graph, stage: Stage) -> bool:
    return any(name in graph.inputs(stage.node_id) for name in _SPLITS)


def _trace_size(
    graph: Graph,
    used: Sequence[str],
    main: Stage,
    found: dict[str, list[InputRef]],
    scales: dict[str, list[InputRef]],
    notes: list[Note],
) -> None:
    """The size that the main stage begins with; a later stage's own size keeps its proportion to it."""
    for role in ("width", "height"):
        has_own = any(name in graph.inputs(main.node_id) for name in NAMES[role])
        ref, end = _side(graph, main.node_id, NAMES[role]) if has_own or not main.makes_itself else (None, main.node_id)
        if ref is not None:
            found[role].append(ref)
        elif (note := _note_no_size(graph, role, end)) is not None:
            notes.append(note)
    found["batch"] = settable(graph, main.node_id, NAMES["batch"])
    if not found["batch"]:
        chain = _chain(graph, main.node_id, LATENT)
        found["batch"] = next((refs for node_id in chain if (refs := settable(graph, node_id, _BATCH))), [])
    if not (found["width"] and found["height"]):
        return
    sizes = {*found["width"], *found["height"]}
    for node_id in used:
        inputs = graph.inputs(node_id)
        if node_id == main.node_id or not all(_is_whole(inputs.get(name)) for name in ("width", "height")):
            continue
        if _FOLLOWS_SIZE.intersection(inputs) or main.node_id in graph.upstream([node_id]):
            for name, role in _SIDES.items():
                ref = InputRef(node_id, name)
                if _is_whole(inputs.get(name)) and ref not in sizes:
                    scales.setdefault(role, []).append(ref)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _trace_files(graph: Graph, used: Sequence[str], found: dict[str, list[InputRef]], notes: list[Note]) -> None:
    """The uploaded files; a picture of which only the mask is used is a mask."""
    taken: dict[str, set[int]] = {}
    for node_id in used:
        for link in graph.links(node_id).values():
            taken.setdefault(link.node_id, set()).add(link.output)
    for node_id in used:
        made = graph.definition(node_id).get("output")
        names = [str(kind) for kind in made] if isinstance(made, list) else ["IMAGE", "MASK"]
        if graph.class_type(node_id) == "LoadImageMask":
            names = ["MASK"]
        kinds = {names[output] for output in taken.get(node_id, ()) if 0 <= output < len(names)}
        for role, ref in uploads(graph, node_id):
            found["masks" if role == "images" and kinds == {"MASK"} else role].append(ref)
            if role == "images" and kinds == {"IMAGE", "MASK"}:
                where = f"{node_id} ({title(graph.prompt, node_id)})"
                english = f"it is the transparent part of the picture in node {where}"
                notes.append(Note("masks", english, f"取自节点 {where} 中图片的透明部分"))


def _loras(graph: Graph, node_id: str) -> Iterator[InputRef]:
    for name, value in graph.inputs(node_id).items():
        if _LORA.fullmatch(name) and isinstance(value, str):
            yield InputRef(node_id, name)


def _by_half_a_title(
    graph: Graph, used: Sequence[str], role: str, found: Mapping[str, Sequence[InputRef]]
) -> list[InputRef]:
    """Texts whose title merely contains the role's name, where nothing else was found."""
    words = {"positive": ("positive", "正向", "正面"), "negative": ("negative", "负面", "负向", "反向")}[role]
    titled = [node_id for node_id in used if any(word in title(graph.prompt, node_id).casefold() for word in words)]
    side = int(role == "negative")
    refs = [ref for node_id in titled for ref in texts(graph, node_id, side)]
    # A text that is zeroed, or that is the other prompt too, has that title and no effect.
    return [] if found["positive"] else refs


def _chain(graph: Graph, node_id: str, along: Sequence[str]) -> Iterator[str]:
    """The nodes upstream over the first of these wires each, the nearest first."""
    seen = {node_id}
    link = source(graph, graph.linked(node_id, along))
    while link is not None and link.node_id not in seen:
        seen.add(link.node_id)
        yield link.node_id
        link = source(graph, graph.linked(link.node_id, along))


def _side(graph: Graph, node_id: str, names: Sequence[str]) -> tuple[InputRef | None, str]:
    """Where the picture that a node works on gets its width or height, else the node at which its wires end."""
    seen: set[str] = set()
    while node_id not in seen:
        seen.add(node_id)
        nodes = [node_id, *_chain(graph, node_id, _PICTURE)]
        sized = next((node for node in nodes if any(name in graph.inputs(node) for name in names)), None)
        if sized is None:
            return None, nodes[-1]
        ref, end = settable_or_end(graph, sized, names)
        if ref is not None and _is_whole(graph.value(ref)):
            return ref, end
        # The size is measured on a picture: on with that one.
        node_id = end
    return None, node_id


def _model_source(graph: Graph, main: Stage) -> Link | None:
    """The output that LoRAs have to be put behind: that of the loader, or of the merge of two models."""
    for node_id in setting_nodes(graph, main.node_id):
        link = graph.linked(node_id, _MODEL)
        if link is not None:
            return _origin(graph, link, ("model",))
    return None


def _clip_source(graph: Graph, stages: Iterable[Stage]) -> Link | None:
    for encoder in (encoder for stage in stages for side in stage.encoders for encoder in side):
        link = graph.linked(encoder, ("clip",))
        if link is not None:
            return _origin(graph, link, ("clip",))
    return None


def _origin(graph: Graph, link: Link, names: Sequence[str]) -> Link:
    """Follow a wire upwards to the output that nothing of its kind feeds."""
    link = source(graph, link) or link
    seen = {link.node_id}
    while (behind := source(graph, graph.linked(link.node_id, names))) is not None and behind.node_id not in seen:
        seen.add(behind.node_id)
        link = behind
    return link


def _note_no_text(graph: Graph, main: Stage) -> Note:
    where = f"{main.node_id} ({title(graph.prompt, main.node_id)})"
    return Note("positive", f"node {where} is told nothing by a text", f"节点 {where} 没有文本输入")


def _note_no_negative(main: Stage) -> Note:
    if main.is_zeroed:
        return Note("negative", "the graph zeroes its negative conditioning", "工作流将负向条件置零")
    if main.encoders[1]:
        return Note("negative", "the graph uses no negative prompt of its own", "工作流没有单独的负向提示词")
    return Note("negative", "nothing in the graph takes a negative prompt", "工作流没有使用负向提示词的节点")


def _note_no_size(graph: Graph, role: str, end: str) -> Note | None:
    where = f"{end} ({title(graph.prompt, end)})"
    if uploads(graph, end):
        return Note(role, f"it is that of the file in node {where}", f"取自节点 {where} 中的文件")
    inputs = graph.inputs(end)
    chosen = next((name for name in ("aspect_ratio", "size", "resolution", "ratio") if name in inputs), None)
    if chosen is not None:
        return Note(role, f"node {where} has '{chosen}' instead", f"节点 {where} 使用“{chosen}”代替")
    return None

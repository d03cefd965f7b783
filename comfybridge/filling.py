"""A caller's values bound into a template's graph. Pure."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import placement, preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.media import InputFile, image_size
from comfybridge.template import FROM_PICTURES, Template
from comfybridge.workflow import FILES, Definitions, InputRef, Lora, Prompt, Roles

MAX_SEED = 2**64 - 1
"""ComfyUI's own limit; random seeds stay below 2**50, which every JSON reader keeps exact."""

FRAME_GRID, DEFAULT_FPS = 4, 16
"""Video models draw a first frame and then four at a time (ComfyUI's ``Wan`` and ``Hunyuan`` latents)."""

_RANDOM_SEEDS = 2**50
_FILES = {
    "images": ("a picture", "一张图片"),
    "masks": ("a mask", "一张蒙版"),
    "video": ("a video", "一段视频"),
    "audio": ("a sound", "一段音频"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a caller wants; ``None`` means: as the template has it, and for the seed: a random one.

    ``aspect`` (width : height), for the template's own number of pixels, counts where neither side is given. ``exact``
    is the size in pixels that the pictures shall have in the end: they are made at a size that suits the model, then
    scaled and cropped in the graph. ``seconds`` becomes frames where the graph counts those. ``values`` sets inputs by
    name, as ``placement`` reads them, after everything else.
    """

    positive: str | None = None
    negative: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    aspect: tuple[int, int] | None = None
    exact: tuple[int, int] | None = None
    seconds: float | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    denoise: float | None = None
    model: str | None = None
    loras: tuple[Lora, ...] = ()
    count: int | None = None
    files: tuple[InputFile, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A graph ready for ``POST /prompt`` and the values that are really in it.

    ``seed`` is ``None`` when the graph has none, ``files`` have to be on the server before it can run. ``notes`` tell,
    in English and Chinese, which of the caller's values the graph has no place for, and which files the server has
    under another folder. ``positive`` and ``negative`` are the texts in it. ``pixels`` are those that the graph begins
    with, its whole batch, where it says so.
    """

    prompt: Prompt
    template: Template
    seed: int | None
    width: int | None
    height: int | None
    model: str | None
    positive: str | None = None
    negative: str | None = None
    pixels: int | None = None
    files: tuple[InputFile, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    saves_anew: bool = False
    """A user's workflow, too, shall save under names that no earlier job had."""

    def saved_under(self, prompt_id: str) -> Prompt:
        """The graph to send: a template's saves get the ``prompt_id`` into their names.

        So none is ever answered from ComfyUI's cache with a file that is gone. A user's workflow names its own files.
        """
        if self.template.is_users and not self.saves_anew:
            return self.prompt
        prefixes = {
            InputRef(node_id, "filename_prefix"): f"{prefix}_{prompt_id}"
            for node_id, node in self.prompt.items()
            if isinstance(prefix := node["inputs"].get("filename_prefix"), str)
        }
        return workflow.fill(self.prompt, prefixes)


def fill(template: Template, inputs: Inputs, definitions: Definitions) -> tuple[Filled, ...]:
    """Bind the caller's values: one graph, or ``count`` graphs with seeds counting up where it has no batch.

    Raises:
        InvalidInput: the server lacks the model or a LoRA, or the graph has no place for the prompt, a LoRA, a file
            or a named value, or lacks a file.
    """
    roles = template.roles(definitions)
    _refuse(template, inputs, roles)
    placed = placement.place_files(template.prompt, roles, inputs.files, inputs.values, definitions)
    named = placement.place_values(template.prompt, roles, _timed(template, placed.values, inputs, roles), definitions)
    seed = _random_seed(template, roles, definitions) if inputs.seed is None else inputs.seed
    values = {**template.defaults, **_chosen(template, inputs, roles, definitions)}
    width, height = (values.get(role, _value(template.prompt, roles[role])) for role in ("width", "height"))
    count = inputs.count or 1
    batched = count == 1 or bool(roles["batch"])
    if inputs.count is not None:
        values["batch"] = count if batched else 1
    notes = (*template.warnings, *(_no_place(template.name, role) for role in _unplaced(inputs, roles)))
    prompt, dropped = _with_files(template, roles, placed.files, definitions)
    loras = _loras(inputs, definitions)
    filled: list[Filled] = []
    for run in range(1 if batched else count):
        values["seed"] = (seed + run) % (MAX_SEED + 1)
        assigned = {**workflow.assign(template.prompt, roles, values), **named}
        kept = {ref: value for ref, value in assigned.items() if ref.node_id in prompt}
        graph = workflow.add_loras(workflow.fill(prompt, kept), roles, loras)
        if inputs.exact is not None and (width, height) != inputs.exact:
            graph = workflow.finish_at(graph, (each for each in roles.outputs if each in graph), *inputs.exact)
        repaired = preflight.repair(graph, definitions)
        filled.append(
            Filled(
                prompt=repaired.prompt,
                template=template,
                seed=_value(repaired.prompt, roles["seed"]),
                width=_value(repaired.prompt, roles["width"]),
                height=_value(repaired.prompt, roles["height"]),
                model=_value(repaired.prompt, roles["model"]),
                positive=_text(repaired.prompt, roles["positive"]),
                negative=_text(repaired.prompt, roles["negative"]),
                pixels=_pixels(repaired.prompt, roles),
                files=tuple(dict.fromkeys(placed.files.values())),
                notes=(*notes, *dropped, *repaired.notes),
            )
        )
    return tuple(filled)


def _timed(template: Template, values: Mapping[str, Any], inputs: Inputs, roles: Roles) -> Mapping[str, Any]:
    """The caller's values, and the seconds as what the graph counts in: seconds, or frames at so many a second."""
    if inputs.seconds is None or "seconds" in roles.named:
        return values if inputs.seconds is None else {"seconds": inputs.seconds, **values}
    if "frames" not in roles.named:
        return values
    fps = values.get("fps", _value(template.prompt, roles.named.get("fps", ())))
    frames = round(inputs.seconds * float(fps or DEFAULT_FPS) / FRAME_GRID) * FRAME_GRID + 1
    return {"frames": max(frames, FRAME_GRID + 1), **values}


def as_is(template: Template) -> Filled:
    """The graph as it stands, for a job that was filled elsewhere; read without node definitions."""
    roles = template.roles({})
    return Filled(
        prompt=template.prompt,
        template=template,
        seed=_value(template.prompt, roles["seed"]),
        width=_value(template.prompt, roles["width"]),
        height=_value(template.prompt, roles["height"]),
        model=_value(template.prompt, roles["model"]),
        positive=_text(template.prompt, roles["positive"]),
        negative=_text(template.prompt, roles["negative"]),
    )


def _random_seed(template: Template, roles: Roles, definitions: Definitions) -> int:
    """A seed that every node with one takes: those of paid services stop at 32 bits."""
    highest = [preflight.highest(definitions, template.prompt[ref.node_id], ref.input) for ref in roles["seed"]]
    return random.randrange(min([_RANDOM_SEEDS, *(int(limit) + 1 for limit in highest if limit is not None)]))  # noqa: S311


def _refuse(template: Template, inputs: Inputs, roles: Roles) -> None:
    if inputs.positive is not None and not roles["positive"] and not template.is_users:
        raise InvalidInput(
            f"The template '{template.name}' takes no prompt: leave prompt empty.",
            f"模板“{template.name}”不使用提示词：请将 prompt 留空。",
        )
    if inputs.positive is not None and not roles["positive"]:
        raise InvalidInput(
            f"Where the prompt belongs in '{template.name}' cannot be found: title its node 'prompt', or leave prompt"
            " empty and set the text by values.",
            f"无法在“{template.name}”中找到提示词的位置：请将对应节点的标题改为“提示词”，"
            "或留空 prompt 并用 values 设置文本。",
        )
    if inputs.loras and roles.model_source is None:
        raise InvalidInput(
            f"'{template.name}' has no model that takes LoRAs: leave loras empty.",
            f"“{template.name}”没有可加载 LoRA 的模型：请将 loras 留空。",
        )


def _with_files(
    template: Template, roles: Roles, placed: Mapping[InputRef, InputFile], definitions: Definitions
) -> tuple[Prompt, list[tuple[str, str]]]:
    """The graph with the caller's files; what loads others that cannot be had goes, where it can be without."""
    refs = dict.fromkeys(ref for role in FILES for ref in roles[role])
    absent = [
        ref for ref in refs if ref not in placed and not (template.is_users and _is_there(template, ref, definitions))
    ]
    prompt: Prompt = workflow.fill(template.prompt, {ref: file.name for ref, file in placed.items()})
    if template.task in FROM_PICTURES and roles["images"] and roles["images"][0] in absent:
        raise _needs_file(template, roles["images"][0], roles)
    notes: list[tuple[str, str]] = []
    for ref in absent:
        less = placement.without(prompt, [ref.node_id], definitions)
        if less is None:
            # Of a user's own workflow the check before the submission tells which file it wants.
            if template.is_users:
                continue
            raise _needs_file(template, ref, roles)
        prompt = less
        if template.is_users:
            label = workflow.title(template.prompt, ref.node_id)
            notes.append((f"{label} has no file: left out", f"{label} 没有文件，已省略"))
    return prompt, notes


def _is_there(template: Template, ref: InputRef, definitions: Definitions) -> bool:
    names = preflight.options(definitions, template.prompt[ref.node_id]["class_type"], ref.input)
    value = _value(template.prompt, (ref,))
    return names is None or value in names or preflight.is_elsewhere(str(value))


def _chosen(template: Template, inputs: Inputs, roles: Roles, definitions: Definitions) -> dict[str, Any]:
    width, height = _size(template, inputs, roles)
    chosen = {
        "positive": inputs.positive,
        "negative": inputs.negative,
        "width": width,
        "height": height,
        "steps": inputs.steps,
        "cfg": inputs.cfg,
        "sampler": inputs.sampler,
        "scheduler": inputs.scheduler,
        "denoise": inputs.denoise,
        "model": _model(template, inputs.model, definitions),
    }
    return {role: value for role, value in chosen.items() if value is not None}


def _model(template: Template, wanted: str | None, definitions: Definitions) -> str | None:
    if wanted is None:
        return None
    return _found("the model", "模型", wanted, template.model_names(definitions))


def _size(template: Template, inputs: Inputs, roles: Roles) -> tuple[int | None, int | None]:
    width, height = inputs.width, inputs.height
    aspect = inputs.exact or inputs.aspect
    if aspect is None and template.task == "image2video":
        # A video of another shape would show a part of its picture only.
        aspect = next((found for file in inputs.files if (found := image_size(file.data)) is not None), None)
    if width is None and height is None and aspect is None:
        return None, None
    own = (_value(template.prompt, roles["width"]), _value(template.prompt, roles["height"]))
    pixels = template.size.pixels or (own[0] or 0) * (own[1] or 0)
    if aspect is not None and width is None and height is None and pixels:
        ratio = aspect[0] / aspect[1]
        width, height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
    return _on_grid(template, width or own[0]), _on_grid(template, height or own[1])


def _on_grid(template: Template, side: int | None) -> int | None:
    if side is None:
        return None
    # Half way up, as people round; Python's round() would send 12 on a grid of 8 to 16 but 20 to 16 as well.
    return max(template.size.grid, math.floor(side / template.size.grid + 0.5) * template.size.grid)


def _value(prompt: Prompt, refs: Sequence[InputRef]) -> Any:
    """The value that the first of the inputs holds; ``None`` when the role was not found, or its node was left out."""
    return prompt[refs[0].node_id]["inputs"][refs[0].input] if refs and refs[0].node_id in prompt else None


def _text(prompt: Prompt, refs: Sequence[InputRef]) -> str | None:
    value = _value(prompt, refs)
    return value if isinstance(value, str) else None


def _pixels(prompt: Prompt, roles: Roles) -> int | None:
    """Width by height by batch, the largest of each where the graph has several."""
    sides = [_numbers(prompt, roles[role]) for role in ("width", "height")]
    if not all(sides):
        return None
    return math.prod(map(max, sides)) * max(_numbers(prompt, roles["batch"]), default=1)


def _numbers(prompt: Prompt, refs: Sequence[InputRef]) -> list[int]:
    values = (_value(prompt, (ref,)) for ref in refs)
    return [int(value) for value in values if isinstance(value, int | float)]


def _found(what_en: str, what_zh: str, wanted: str, names: Sequence[str]) -> str:
    match = preflight.find_name(wanted, names)
    if match.name is None:
        english, chinese = preflight.not_found(what_en, what_zh, wanted, names)
        raise InvalidInput(english[0].upper() + english[1:], chinese)
    return match.name


def _loras(inputs: Inputs, definitions: Definitions) -> list[Lora]:
    names = preflight.options(definitions, "LoraLoader", "lora_name") or []
    return [Lora(_found("the LoRA", " LoRA ", lora.name, names), lora.strength) for lora in inputs.loras]


def _unplaced(inputs: Inputs, roles: Roles) -> list[str]:
    """The roles that the caller set and the graph has no input for."""
    given = ("negative", "seed", "width", "height", "steps", "cfg", "sampler", "scheduler", "denoise", "model")
    return [role for role in given if getattr(inputs, role) not in (None, "") and not roles[role]]


def _needs_file(template: Template, ref: InputRef, roles: Roles) -> InvalidInput:
    role = next(role for role in FILES if ref in roles[role])
    english, chinese = _FILES[role]
    return InvalidInput(
        f"The template '{template.name}' needs {english}: give it as a file, by its address, or as the prompt_id of an"
        " earlier job.",
        f"模板“{template.name}”需要{chinese}：请提供文件、链接，或之前任务的 prompt_id。",
    )


def _no_place(template: str, role: str) -> tuple[str, str]:
    return f"{template} has no {role}: ignored", f"{template} 不使用 {role}，已忽略"

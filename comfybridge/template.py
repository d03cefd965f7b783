"""Templates: a graph, what people need to know of it, and a caller's values bound into it. Pure."""

import dataclasses
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import placement, preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.media import InputFile
from comfybridge.workflow import FILES, Definitions, InputRef, Lora, Prompt, Roles

AUTO = "auto"
TASKS = (
    "text2image",
    "image2image",
    "inpaint",
    "upscale",
    "text2video",
    "image2video",
    "text2audio",
    "image2model",
)
"""What a template makes of what; a tool's ``auto`` chooses among the templates of its task."""
MAX_SEED = 2**64 - 1
"""ComfyUI's own limit; random seeds stay below 2**50, which every JSON reader keeps exact."""

FROM_PICTURES = ("image2image", "inpaint", "upscale", "image2video", "image2model")
"""The tasks that begin with a picture, even where the graph could do without one."""

_RANDOM_SEEDS = 2**50
_FILES = {
    "images": ("a picture", "一张图片"),
    "masks": ("a mask", "一张蒙版"),
    "video": ("a video", "一段视频"),
    "audio": ("a sound", "一段音频"),
}
# How trainers write down what a checkpoint is: the ModelSpec standard, and kohya's scripts before it.
_ARCHITECTURE_KEYS = ("modelspec.architecture", "ss_base_model_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredFile:
    """A model file: the folder under ComfyUI's ``models/``, and the pages it can be had from."""

    folder: str
    file: str
    huggingface: str
    modelscope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRules:
    """Sides are multiples of ``grid`` pixels; an aspect ratio gets about ``pixels`` pixels in all.

    ``None`` stands for the number of pixels that the graph was exported with.
    """

    grid: int = 8
    pixels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """Which other model files the graph can run: by what their metadata says, else by name (regular expressions)."""

    architecture: tuple[str, ...]
    name: tuple[str, ...]
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a caller wants; ``None`` means: as the template has it, and for the seed: a random one.

    ``aspect`` (width : height), for the template's own number of pixels, counts where neither side is given. ``values``
    sets inputs by name, as ``placement`` reads them, after everything else.
    """

    positive: str | None = None
    negative: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    aspect: tuple[int, int] | None = None
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
    under another folder. ``pixels`` are those that the graph begins with, its whole batch, where it says so.
    """

    prompt: Prompt
    template: "Template"
    seed: int | None
    width: int | None
    height: int | None
    model: str | None
    pixels: int | None = None
    files: tuple[InputFile, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

    def saved_under(self, prompt_id: str) -> Prompt:
        """The graph to send: a template's saves get the ``prompt_id`` into their names.

        So none is ever answered from ComfyUI's cache with a file that is gone. A user's workflow names its own files.
        """
        if self.template.is_users:
            return self.prompt
        prefixes = {
            InputRef(node_id, "filename_prefix"): f"{prefix}_{prompt_id}"
            for node_id, node in self.prompt.items()
            if isinstance(prefix := node["inputs"].get("filename_prefix"), str)
        }
        return workflow.fill(self.prompt, prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template; ``title`` and ``about`` map Dify's language codes to text.

    ``auto`` tries a lower ``order`` earlier and leaves out templates with none. ``is_users`` marks a user's own
    workflow, which keeps what it has where a caller says nothing, and its file names. ``warnings`` are what its
    conversion says.
    """

    name: str
    prompt: Prompt
    task: str = ""
    title: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    comfyui: str = ""
    order: int | None = None
    requires: tuple[RequiredFile, ...] = ()
    size: SizeRules = SizeRules()
    custom_nodes: tuple[str, ...] = ()
    fits: Fits | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bindings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    is_users: bool = False
    warnings: tuple[tuple[str, str], ...] = ()
    _roles: dict[tuple[str, ...], Roles] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def base_name(self) -> str:
        """The name without its version: ``poster`` of ``poster@2``."""
        return self.name.partition("@")[0]

    @property
    def version(self) -> int:
        return int(self.name.partition("@")[2] or 1)

    def class_types(self) -> frozenset[str]:
        """Every node class that running this template can need, the one that LoRAs are loaded with included."""
        return workflow.class_types(self.prompt) | {"LoraLoader", "LoraLoaderModelOnly"}

    def roles(self, definitions: Definitions) -> Roles:
        """The traced roles, with the sidecar's ``bindings`` instead of the traced ones."""
        # What the definitions tell a trace of a template's nodes hangs on which of them the server has.
        outputs = workflow.output_nodes(self.prompt, definitions)
        known = (*outputs, *sorted(self.class_types() & set(definitions)))
        if known not in self._roles:
            traced = workflow.trace(self.prompt, definitions)
            self._roles[known] = bind(traced, self.bindings)
        return self._roles[known]

    def model_names(self, definitions: Definitions) -> list[str]:
        """The files that the server offers to this template's model loader."""
        for ref in self.roles(definitions)["model"]:
            return preflight.options(definitions, self.prompt[ref.node_id]["class_type"], ref.input) or []
        return []

    @property
    def model_folder(self) -> str:
        """The folder under ``models/`` that the model loader reads: that of the first required file."""
        return self.requires[0].folder

    def can_run(self, model: str, metadata: Mapping[str, str], definitions: Definitions) -> bool:
        """Tell whether the graph can run another model file on this server.

        ``metadata`` is that of the file, empty where it has none; the other files must be there as the graph has them.
        """
        if self.fits is None or any(re.search(pattern, model, re.IGNORECASE) for pattern in self.fits.excluded):
            return False
        named = next((metadata[key] for key in _ARCHITECTURE_KEYS if metadata.get(key)), None)
        if named is not None:
            fits = named.lower() in self.fits.architecture
        else:
            fits = any(re.search(pattern, model, re.IGNORECASE) for pattern in self.fits.name)
        changed = dict.fromkeys(self.roles(definitions)["model"], model)
        return fits and preflight.can_run(workflow.fill(self.prompt, changed), definitions)

    def fill(self, inputs: Inputs, definitions: Definitions) -> tuple[Filled, ...]:
        """Bind the caller's values: one graph, or ``count`` graphs with seeds counting up where it has no batch.

        Raises:
            InvalidInput: the server lacks the model or a LoRA, or the graph has no place for the prompt, a LoRA, a file
                or a named value, or lacks a file.
        """
        roles = self.roles(definitions)
        self._refuse(inputs, roles)
        placed = placement.place_files(self.prompt, roles, inputs.files, inputs.values, definitions)
        named = placement.place_values(self.prompt, roles, placed.values, definitions)
        seed = random.randrange(_RANDOM_SEEDS) if inputs.seed is None else inputs.seed  # noqa: S311
        values = {**self.defaults, **self._chosen(inputs, roles, definitions)}
        count = inputs.count or 1
        batched = count == 1 or bool(roles["batch"])
        if inputs.count is not None:
            values["batch"] = count if batched else 1
        notes = (*self.warnings, *(_no_place(self.name, role) for role in _unplaced(inputs, roles)))
        prompt, dropped = self._with_files(roles, placed.files, definitions)
        loras = _loras(inputs, definitions)
        filled: list[Filled] = []
        for run in range(1 if batched else count):
            values["seed"] = (seed + run) % (MAX_SEED + 1)
            assigned = {**workflow.assign(self.prompt, roles, values), **named}
            kept = {ref: value for ref, value in assigned.items() if ref.node_id in prompt}
            graph = workflow.add_loras(workflow.fill(prompt, kept), roles, loras)
            repaired = preflight.repair(graph, definitions)
            filled.append(
                Filled(
                    prompt=repaired.prompt,
                    template=self,
                    seed=_value(repaired.prompt, roles["seed"]),
                    width=_value(repaired.prompt, roles["width"]),
                    height=_value(repaired.prompt, roles["height"]),
                    model=_value(repaired.prompt, roles["model"]),
                    pixels=_pixels(repaired.prompt, roles),
                    files=tuple(dict.fromkeys(placed.files.values())),
                    notes=(*notes, *dropped, *repaired.notes),
                )
            )
        return tuple(filled)

    def as_is(self) -> Filled:
        """The graph as it stands, for a job that was filled elsewhere; read without node definitions."""
        roles = self.roles({})
        return Filled(
            prompt=self.prompt,
            template=self,
            seed=_value(self.prompt, roles["seed"]),
            width=_value(self.prompt, roles["width"]),
            height=_value(self.prompt, roles["height"]),
            model=_value(self.prompt, roles["model"]),
        )

    def _refuse(self, inputs: Inputs, roles: Roles) -> None:
        if inputs.positive is not None and not roles["positive"]:
            raise InvalidInput(
                f"Where the prompt belongs in '{self.name}' cannot be found: title its node 'prompt', or leave prompt"
                " empty and set the text by values.",
                f"无法在“{self.name}”中找到提示词的位置：请将对应节点的标题改为“提示词”，"
                "或留空 prompt 并用 values 设置文本。",
            )
        if inputs.loras and roles.model_source is None:
            raise InvalidInput(
                f"'{self.name}' has no model that takes LoRAs: leave loras empty.",
                f"“{self.name}”没有可加载 LoRA 的模型：请将 loras 留空。",
            )

    def _with_files(
        self, roles: Roles, placed: Mapping[InputRef, InputFile], definitions: Definitions
    ) -> tuple[Prompt, list[tuple[str, str]]]:
        """The graph with the caller's files; what loads others that cannot be had goes, where it can be without."""
        refs = dict.fromkeys(ref for role in FILES for ref in roles[role])
        absent = [ref for ref in refs if ref not in placed and not (self.is_users and self._is_there(ref, definitions))]
        prompt: Prompt = workflow.fill(self.prompt, {ref: file.name for ref, file in placed.items()})
        if self.task in FROM_PICTURES and roles["images"] and roles["images"][0] in absent:
            raise _needs_file(self, roles["images"][0], roles)
        notes: list[tuple[str, str]] = []
        for ref in absent:
            less = placement.without(prompt, [ref.node_id], definitions)
            if less is None:
                # Of a user's own workflow the check before the submission tells which file it wants.
                if self.is_users:
                    continue
                raise _needs_file(self, ref, roles)
            prompt = less
            if self.is_users:
                label = workflow.title(self.prompt, ref.node_id)
                notes.append((f"{label} has no file: left out", f"{label} 没有文件，已省略"))
        return prompt, notes

    def _is_there(self, ref: InputRef, definitions: Definitions) -> bool:
        names = preflight.options(definitions, self.prompt[ref.node_id]["class_type"], ref.input)
        value = _value(self.prompt, (ref,))
        return names is None or value in names or preflight.is_elsewhere(str(value))

    def how_to_install(self, missing: Sequence[str] = ()) -> tuple[str, str]:
        """Say in English and Chinese which files go where; all required ones unless some are named."""
        files = [file for file in self.requires if not missing or file.file in missing] or list(self.requires)
        english = "; ".join(f"{f.file} into models/{f.folder} ({f.huggingface} or {f.modelscope})" for f in files)
        chinese = "；".join(f"{f.file} 放到 models/{f.folder}（{f.huggingface} 或 {f.modelscope}）" for f in files)
        return f"To use the template '{self.name}', put {english}.", f"使用模板“{self.name}”需要：{chinese}。"

    def _chosen(self, inputs: Inputs, roles: Roles, definitions: Definitions) -> dict[str, Any]:
        width, height = self._size(inputs, roles)
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
            "model": self._model(inputs.model, definitions),
        }
        return {role: value for role, value in chosen.items() if value is not None}

    def _model(self, wanted: str | None, definitions: Definitions) -> str | None:
        if wanted is None:
            return None
        return _found("the model", "模型", wanted, self.model_names(definitions))

    def _size(self, inputs: Inputs, roles: Roles) -> tuple[int | None, int | None]:
        width, height = inputs.width, inputs.height
        if width is None and height is None and inputs.aspect is None:
            return None, None
        own = (_value(self.prompt, roles["width"]), _value(self.prompt, roles["height"]))
        pixels = self.size.pixels or (own[0] or 0) * (own[1] or 0)
        if inputs.aspect is not None and width is None and height is None and pixels:
            ratio = inputs.aspect[0] / inputs.aspect[1]
            width, height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        return self._on_grid(width or own[0]), self._on_grid(height or own[1])

    def _on_grid(self, side: int | None) -> int | None:
        if side is None:
            return None
        # Half way up, as people round; Python's round() would send 12 on a grid of 8 to 16 but 20 to 16 as well.
        return max(self.size.grid, math.floor(side / self.size.grid + 0.5) * self.size.grid)


def bind(roles: Roles, bindings: Mapping[str, str | Sequence[str]]) -> Roles:
    """The roles with a sidecar's ``bindings`` (``role: node_id.input``, or several of them) in place of those found."""
    bound = {role: tuple(map(parse_ref, listed(refs))) for role, refs in bindings.items()}
    return dataclasses.replace(roles, inputs={**roles.inputs, **bound})


def listed(refs: Any) -> list[str]:
    return [str(ref) for ref in refs] if isinstance(refs, list | tuple) else [str(refs)]


def parse_ref(ref: str) -> InputRef:
    """``57:27.text`` names the input ``text`` of the node ``57:27``; an input's own name may hold dots."""
    node_id, _, name = ref.partition(".")
    return InputRef(node_id, name)


def _value(prompt: Prompt, refs: Sequence[InputRef]) -> Any:
    """The value that the first of the inputs holds; ``None`` when the role was not found, or its node was left out."""
    return prompt[refs[0].node_id]["inputs"][refs[0].input] if refs and refs[0].node_id in prompt else None


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
    given = ("negative", "width", "height", "steps", "cfg", "sampler", "scheduler", "denoise", "model")
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

"""Templates: a graph, what people need to know of it, and a caller's values bound into it. Pure."""

import dataclasses
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions, InputRef, Lora, Prompt, Roles

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

_RANDOM_SEEDS = 2**50
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

    ``aspect`` (width : height), for the template's own number of pixels, counts where neither side is given.
    """

    positive: str
    negative: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    aspect: tuple[int, int] | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    model: str | None = None
    loras: tuple[Lora, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A graph ready for ``POST /prompt`` and the values that are really in it.

    ``notes`` tell, in English and Chinese, which of the caller's values the graph has no place for, and which files
    the server has under another folder.
    """

    prompt: Prompt
    template: "Template"
    seed: int
    width: int | None
    height: int | None
    model: str | None
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template; ``title`` and ``about`` map Dify's language codes to text.

    ``auto`` tries a lower ``order`` earlier and leaves out templates with none.
    """

    name: str
    prompt: Prompt
    task: str
    title: Mapping[str, str]
    about: Mapping[str, str]
    comfyui: str
    order: int | None = None
    requires: tuple[RequiredFile, ...] = ()
    size: SizeRules = SizeRules()
    custom_nodes: tuple[str, ...] = ()
    fits: Fits | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bindings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
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
            InvalidInput: the server lacks the model or a LoRA, or the graph has no place for the prompt or for LoRAs.
        """
        roles = self.roles(definitions)
        if not roles["positive"]:
            raise InvalidInput(
                f"Where the prompt belongs in the template '{self.name}' cannot be found: bind positive in its .yaml.",
                f"无法在模板“{self.name}”中找到提示词的位置：请在其 .yaml 的 bindings 中指定 positive。",
            )
        if inputs.loras and roles.model_source is None:
            raise InvalidInput(
                f"The template '{self.name}' has no model that takes LoRAs: leave loras empty.",
                f"模板“{self.name}”没有可加载 LoRA 的模型：请将 loras 留空。",
            )
        seed = random.randrange(_RANDOM_SEEDS) if inputs.seed is None else inputs.seed  # noqa: S311
        values = {**self.defaults, **self._chosen(inputs, roles, definitions)}
        batched = inputs.count == 1 or bool(roles["batch"])
        values["batch"] = inputs.count if batched else 1
        notes = tuple(_no_place(self.name, role) for role in _unplaced(inputs, roles))
        prompt = workflow.add_loras(self.prompt, roles, _loras(inputs, definitions)) if inputs.loras else self.prompt
        filled: list[Filled] = []
        for run in range(1 if batched else inputs.count):
            values["seed"] = (seed + run) % (MAX_SEED + 1)
            repaired = preflight.repair(workflow.fill(prompt, workflow.assign(prompt, roles, values)), definitions)
            graph = repaired.prompt
            filled.append(
                Filled(
                    prompt=graph,
                    template=self,
                    seed=values["seed"],
                    width=_value(graph, roles["width"]),
                    height=_value(graph, roles["height"]),
                    model=_value(graph, roles["model"]),
                    notes=(*notes, *repaired.notes),
                )
            )
        return tuple(filled)

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
            "model": self._model(inputs.model, definitions),
        }
        return {role: value for role, value in chosen.items() if value is not None}

    def _model(self, wanted: str | None, definitions: Definitions) -> str | None:
        if wanted is None:
            return None
        return _found("the model", "模型", wanted, self.model_names(definitions))

    def _size(self, inputs: Inputs, roles: Roles) -> tuple[int | None, int | None]:
        width, height = inputs.width, inputs.height
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
    """The value that the first of the inputs holds; ``None`` when the role was not found."""
    return prompt[refs[0].node_id]["inputs"][refs[0].input] if refs else None


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
    given = ("negative", "width", "height", "steps", "cfg", "sampler", "scheduler", "model")
    return [role for role in given if getattr(inputs, role) not in (None, "") and not roles[role]]


def _no_place(template: str, role: str) -> tuple[str, str]:
    return f"{template} has no {role}: ignored", f"{template} 不使用 {role}，已忽略"

"""Templates: a graph as ComfyUI exported it, what people need to know of it, and a caller's values bound into it.

``workflows/<name>.json`` is what ComfyUI's "Export (API)" writes; ``workflows/<name>.yaml`` is its sidecar, read
strictly: an unknown key is an error.
"""

import dataclasses
import functools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from comfybridge import preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions, InputRef, Lora, Prompt, Roles

AUTO = "auto"
MAX_SEED = 2**64 - 1
"""ComfyUI's own limit; random seeds stay below 2**50, which every JSON reader keeps exact."""

_RANDOM_SEEDS = 2**50
# In a checkout and in the Dify package the templates lie beside the package, in a wheel inside it.
_FOLDERS = (Path(__file__).parent / "workflows", Path(__file__).parent.parent / "workflows")
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
    """Sides are multiples of ``grid`` pixels; an aspect ratio gets about ``pixels`` pixels in all."""

    grid: int
    pixels: int


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
    template: str
    seed: int
    width: int | None
    height: int | None
    model: str | None
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template; ``title`` and ``about`` map Dify's language codes to text. A lower ``order`` is tried earlier."""

    name: str
    prompt: Prompt
    order: int
    title: Mapping[str, str]
    about: Mapping[str, str]
    comfyui: str
    requires: tuple[RequiredFile, ...]
    size: SizeRules
    custom_nodes: tuple[str, ...] = ()
    fits: Fits | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bindings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    _roles: dict[tuple[str, ...], Roles] = field(default_factory=dict, init=False, repr=False, compare=False)

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
                    template=self.name,
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
        if inputs.aspect is not None and width is None and height is None:
            ratio = inputs.aspect[0] / inputs.aspect[1]
            width, height = round(math.sqrt(self.size.pixels * ratio)), round(math.sqrt(self.size.pixels / ratio))
        own = (_value(self.prompt, roles["width"]), _value(self.prompt, roles["height"]))
        return self._on_grid(width or own[0]), self._on_grid(height or own[1])

    def _on_grid(self, side: int | None) -> int | None:
        if side is None:
            return None
        # Half way up, as people round; Python's round() would send 12 on a grid of 8 to 16 but 20 to 16 as well.
        return max(self.size.grid, math.floor(side / self.size.grid + 0.5) * self.size.grid)


@functools.cache
def library() -> tuple[Template, ...]:
    """All templates that come with this package, the first choice first."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    return tuple(sorted((read(path) for path in folder.glob("*.json")), key=lambda template: template.order))


def load(name: str) -> Template:
    """Raises InvalidInput, naming the templates there are, when there is none of this name."""
    for template in library():
        if template.name == name:
            return template
    names = [AUTO, *(template.name for template in library())]
    raise InvalidInput(
        f"There is no template '{name}'. Choose one of: {', '.join(names)}.",
        f"没有名为“{name}”的模板。可选：{'、'.join(names)}。",
    )


def read(path: Path) -> Template:
    """Read ``<name>.json`` and the ``<name>.yaml`` beside it; ValueError names the key that is unknown or missing."""
    prompt = json.loads(path.read_text(encoding="utf-8"))
    sidecar = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8")) or {}
    _check_roles(sidecar, prompt)
    sidecar["requires"] = tuple(_strictly(RequiredFile, file) for file in sidecar.get("requires") or ())
    sidecar["size"] = _strictly(SizeRules, sidecar.get("size") or {})
    if sidecar.get("fits") is not None:
        sidecar["fits"] = _strictly(Fits, {key: tuple(value) for key, value in sidecar["fits"].items()})
    sidecar["custom_nodes"] = tuple(sidecar.get("custom_nodes") or ())
    return _strictly(Template, {**sidecar, "name": path.stem, "prompt": prompt})


def bind(roles: Roles, bindings: Mapping[str, str | Sequence[str]]) -> Roles:
    """The roles with a sidecar's ``bindings`` (``role: node_id.input``, or several of them) in place of those found."""
    bound = {role: tuple(map(_parse_ref, _listed(refs))) for role, refs in bindings.items()}
    return dataclasses.replace(roles, inputs={**roles.inputs, **bound})


def read_bindings(path: Path, prompt: Prompt) -> Mapping[str, str | Sequence[str]]:
    """The ``bindings`` of the sidecar beside a graph's file, none without one; ValueError names one that is wrong."""
    sidecar = path.with_suffix(".yaml")
    if not sidecar.is_file():
        return {}
    try:
        values = yaml.safe_load(sidecar.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as exc:
        raise ValueError(f"{sidecar.name} is no YAML: {exc}") from exc
    bindings = values.get("bindings") if isinstance(values, Mapping) else None
    if bindings is not None and not isinstance(bindings, Mapping):
        raise ValueError(f"{sidecar.name}: bindings maps roles to inputs, as in 'positive: 6.text'")
    _check_roles({"bindings": bindings or {}}, prompt)
    return bindings or {}


_Record = TypeVar("_Record")


def _strictly(record: type[_Record], values: Mapping[str, Any]) -> _Record:
    known = {f.name for f in fields(record) if f.init}  # type: ignore[arg-type]  # every record here is a dataclass
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{record.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    try:
        return record(**values)
    except TypeError as exc:
        raise ValueError(str(exc)) from exc


def _check_roles(sidecar: Mapping[str, Any], prompt: Prompt) -> None:
    bindings = sidecar.get("bindings") or {}
    if unknown := sorted({*(sidecar.get("defaults") or {}), *bindings} - set(workflow.ROLES)):
        raise ValueError(f"{', '.join(unknown)}: no such role; roles are {', '.join(workflow.ROLES)}")
    for role, refs in bindings.items():
        for ref in _listed(refs):
            node_id, name = _parse_ref(ref)
            if name not in prompt.get(node_id, {}).get("inputs", {}):
                raise ValueError(f"bindings: {role} is {ref}, but the graph has no such input")


def _listed(refs: Any) -> list[str]:
    return [str(ref) for ref in refs] if isinstance(refs, list | tuple) else [str(refs)]


def _parse_ref(ref: str) -> InputRef:
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

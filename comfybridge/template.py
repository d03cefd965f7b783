"""Templates: a graph, what people need to know of it, and a caller's values bound into it. Pure."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge import preflight, workflow
from comfybridge.media import InputFile
from comfybridge.workflow import Definitions, InputRef, Prompt, Roles

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
FROM_PICTURES = ("image2image", "inpaint", "upscale", "image2video", "image2model")
"""The tasks that begin with a picture, even where the graph could do without one."""
LANGUAGES = ("en", "zh", "any")
"""What a template understands best: English, Chinese, or the language in which somebody asks."""

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
class Template:
    """One template; ``title`` and ``about`` map Dify's language codes to text.

    ``prompt_language`` and ``prompt_style`` tell language models how to write for it. ``auto`` tries a lower ``order``
    earlier and leaves out templates with none. ``is_users`` marks a user's own workflow, which keeps what it has where
    a caller says nothing, and its file names. ``warnings`` are what its conversion says.
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
    prompt_language: str = "any"
    prompt_style: str = ""
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
        number = self.name.partition("@")[2]
        return int(number) if number.isdecimal() else 1

    @property
    def full_name(self) -> str:
        """``poster@1`` for the template ``poster``; a workflow's name as it is."""
        return self.name if self.is_users else f"{self.base_name}@{self.version}"

    def class_types(self) -> frozenset[str]:
        """Every node class that running this template can need, those for LoRAs and exact sizes included."""
        return workflow.class_types(self.prompt) | {"LoraLoader", "LoraLoaderModelOnly", workflow.FINISHER}

    def roles(self, definitions: Definitions) -> Roles:
        """The traced roles, with the sidecar's ``bindings`` instead of the traced ones."""
        # What the definitions tell a trace of a template's nodes hangs on which of them the server has.
        outputs = workflow.output_nodes(self.prompt, definitions)
        known = (*outputs, *sorted(self.class_types() & definitions.keys()))
        if known not in self._roles:
            traced = workflow.trace(self.prompt, definitions)
            self._roles[known] = bind(traced, self.bindings)
        return self._roles[known]

    def takes(self, files: Sequence[InputFile]) -> bool:
        """Whether the graph has an input for each picture, and a picture for each that it cannot be without.

        Told by the graph alone: a picture is needed by the task, a mask by whatever has an input for one.
        """
        roles = self.roles({})
        pictures = sum(file.media.kind == "image" for file in files)
        least = int(self.task in FROM_PICTURES and bool(roles["images"])) + len(roles["masks"])
        return least <= pictures <= len(roles["images"]) + len(roles["masks"])

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

    def how_to_install(self, missing: Sequence[str] = ()) -> tuple[str, str]:
        """Say in English and Chinese which files go where; all required ones unless some are named."""
        files = [file for file in self.requires if not missing or file.file in missing] or list(self.requires)
        english = "; ".join(f"{f.file} into models/{f.folder} ({f.huggingface} or {f.modelscope})" for f in files)
        chinese = "；".join(f"{f.file} 放到 models/{f.folder}（{f.huggingface} 或 {f.modelscope}）" for f in files)
        return f"To use the template '{self.name}', put {english}.", f"使用模板“{self.name}”需要：{chinese}。"


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

"""The templates there are: ``<name>.json``, what ComfyUI's "Export (API)" writes, and ``<name>.yaml``, its sidecar.

A sidecar is read strictly: an unknown key is an error.
"""

import difflib
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml

from comfybridge import workflow
from comfybridge.errors import InvalidInput
from comfybridge.template import AUTO, LANGUAGES, TASKS, Fits, RequiredFile, SizeRules, Template, listed, parse_ref
from comfybridge.workflow import Prompt

# In a checkout and in the Dify package the templates lie beside the package, in a wheel inside it.
_NAME = re.compile(r"[\w.-]+(@\d+)?")
_NEEDED = ("title", "about", "task", "comfyui")
_MOST_SAVED = 20
_LONGEST_NAME = 60
_FOLDERS = (Path(__file__).parent / "workflows", Path(__file__).parent.parent / "workflows")


@dataclass(frozen=True, slots=True)
class Named:
    """A template, or a workflow that is saved on the server; ``auto`` for the first template of the task that runs.

    ``others`` are templates beside those of this package.
    """

    name: str
    task: str = "text2image"
    others: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True)
class Pasted:
    """A workflow's parsed JSON in any form."""

    saved: Any
    name: str = "workflow"


@dataclass(frozen=True, slots=True)
class Again:
    """The graph of an earlier job, to be sent once more as it stands."""

    saved: Prompt
    name: str = "workflow"


Source: TypeAlias = Named | Pasted | Again


@functools.cache
def templates() -> tuple[Template, ...]:
    """All templates that come with this package, by name."""
    return read_folder(next(folder for folder in _FOLDERS if folder.is_dir()))


def choices(task: str) -> tuple[Template, ...]:
    """What ``auto`` chooses from, the first choice first: templates with an ``order``, each in its newest version."""
    ordered = [each for each in templates() if each.task == task and each.order is not None]
    newest = [each for each in ordered if find(each.base_name) is each]
    return tuple(sorted(newest, key=lambda each: (each.order, each.name)))


def find(name: str, others: Sequence[Template] = ()) -> Template | None:
    """The template of this name among those of this package, then among ``others``; ``None`` without one.

    ``poster@2`` is the second version of ``poster``, and ``poster`` its newest.
    """
    wanted = name.casefold()
    for known in (templates(), others):
        if "@" in wanted:
            versions = [each for each in known if each.name.casefold() == wanted]
        else:
            versions = [each for each in known if each.base_name.casefold() == wanted]
        if versions:
            return max(versions, key=lambda each: each.version)
    return None


def load(name: str) -> Template:
    """Raises InvalidInput, naming the templates there are, when there is none of this name."""
    if (template := find(name)) is not None:
        return template
    raise unknown(name, [template.name for template in templates()])


def ambiguous(name: str, saved: Sequence[str]) -> InvalidInput:
    """Say which of the workflows saved on the server a part of a name fits."""
    shown, some = _shown(name), saved[:_MOST_SAVED]
    return InvalidInput(
        f"Several saved workflows fit '{shown}': {', '.join(some)}. Write the whole name of one.",
        f"有多个已保存的工作流与“{shown}”相符：{'、'.join(some)}。请写其中一个的完整名称。",
    )


def unknown(name: str, known: Sequence[str], saved: Sequence[str] = ()) -> InvalidInput:
    """Say that neither a template nor a workflow saved on the server has this name: the nearest ones first."""
    names = [AUTO, *known]
    shown = _shown(name)
    if near := difflib.get_close_matches(name, [*names, *saved], n=3):
        return InvalidInput(
            f"There is no template and no saved workflow '{shown}'. Did you mean {' or '.join(near)}?"
            f" Templates: {', '.join(names)}.",
            f"没有名为“{shown}”的模板或已保存的工作流。是否指 {' 或 '.join(near)}？模板有：{'、'.join(names)}。",
        )
    english = f"There is no template '{shown}'. Choose one of: {', '.join(names)}."
    chinese = f"没有名为“{shown}”的模板。可选：{'、'.join(names)}。"
    if saved:
        some = list(saved[:_MOST_SAVED])
        more = f" (and {len(saved) - len(some)} more)" if len(saved) > len(some) else ""
        more_zh = f"等 {len(saved)} 个" if more else ""
        english += f" Or a workflow saved in ComfyUI: {', '.join(some)}{more}."
        chinese += f"或 ComfyUI 中保存的工作流：{'、'.join(some)}{more_zh}。"
    return InvalidInput(english, chinese)


def _shown(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME]}…"


def read_folder(folder: Path) -> tuple[Template, ...]:
    """Every template of a folder, by name; ValueError as by ``read``."""
    return tuple(read(path) for path in sorted(folder.glob("*.json")))


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
    if absent := [key for key in _NEEDED if not sidecar.get(key)]:
        raise ValueError(f"{path.stem}.yaml lacks {', '.join(absent)}")
    if sidecar.get("task") not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, not {sidecar.get('task')}")
    if sidecar.get("prompt_language", "any") not in LANGUAGES:
        raise ValueError(f"prompt_language must be one of {', '.join(LANGUAGES)}, not {sidecar['prompt_language']}")
    if not _NAME.fullmatch(path.stem):
        raise ValueError(f"{path.name}: a template's name is letters, digits, '.', '_' and '-', and may end in '@2'")
    return _strictly(Template, {**sidecar, "name": path.stem, "prompt": prompt})


def read_bindings(path: Path, prompt: Prompt) -> Mapping[str, str | Sequence[str]]:
    """The ``bindings`` of the sidecar beside a graph's file, none without one; ValueError names one that is wrong."""
    sidecar = path.with_suffix(".yaml")
    return bindings_in(sidecar.read_text(encoding="utf-8"), sidecar.name, prompt) if sidecar.is_file() else {}


def bindings_in(sidecar: str, name: str, prompt: Prompt | None) -> Mapping[str, str | Sequence[str]]:
    """The ``bindings`` of a sidecar's text; ValueError as by ``read_bindings``.

    Without the graph, of a workflow that is still to be converted, only the roles are looked at.
    """
    try:
        values = yaml.safe_load(sidecar) or {}
    except yaml.YAMLError as exc:
        raise ValueError(f"{name} is no YAML: {exc}") from exc
    bindings = values.get("bindings") if isinstance(values, Mapping) else None
    if bindings is not None and not isinstance(bindings, Mapping):
        raise ValueError(f"{name}: bindings maps roles to inputs, as in 'positive: 6.text'")
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


def _check_roles(sidecar: Mapping[str, Any], prompt: Prompt | None) -> None:
    bindings = sidecar.get("bindings") or {}
    if unknown := sorted({*(sidecar.get("defaults") or {}), *bindings} - set(workflow.ROLES)):
        raise ValueError(f"{', '.join(unknown)}: no such role; roles are {', '.join(workflow.ROLES)}")
    for role, refs in bindings.items():
        for ref in listed(refs):
            node_id, name = parse_ref(ref)
            if prompt is not None and name not in prompt.get(node_id, {}).get("inputs", {}):
                raise ValueError(f"bindings: {role} is {ref}, but the graph has no such input")

"""What is missing or wrong in a graph on a given server, and what to do about it. Pure.

``check`` looks before sending; ``explain`` reads ComfyUI's own refusal (``execution.py``, ``validate_prompt``). Both
speak the same words, in English and in Chinese.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge.workflow import Definitions, Prompt, as_link, title

_MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a graph from running; ``input`` and ``node_id`` are empty where none is to blame.

    ``code`` is ``missing_node``, ``missing_model``, ``dangling_link``, ``no_output``, or ComfyUI's own error type.
    """

    node_id: str
    title: str
    input: str
    code: str
    message_en: str
    message_zh: str


@dataclass(frozen=True, slots=True)
class Match:
    """The one name that was meant, or ``None`` and the names that come nearest."""

    name: str | None
    nearest: tuple[str, ...]


def find_name(wanted: str, names: Sequence[str]) -> Match:
    """Find the file that was meant: the exact name, else the only one that fits under a looser and looser reading.

    Folders, slashes, case and the extension may differ, a part of the name is enough, and so is a small typo, as long
    as only one name fits.
    """
    if wanted in names:
        return Match(wanted, (wanted,))
    for reading in (_slashes, _path, _basename, _stem, _letters):
        fitting = [name for name in names if reading(name) == reading(wanted) and reading(wanted)]
        if len(fitting) == 1:
            return Match(fitting[0], (fitting[0],))
    part = _letters(wanted)
    containing = [name for name in names if part and part in _letters(name)]
    if len(containing) == 1:
        return Match(containing[0], (containing[0],))
    close = difflib.get_close_matches(part, [_letters(name) for name in names], n=3, cutoff=0.5)
    nearest = [*containing[:3], *(name for letters in close for name in names if _letters(name) == letters)]
    # Another number is another version, not a typo.
    same_version = [_letters(name) for name in names if _digits(name) == _digits(wanted)]
    sure = difflib.get_close_matches(part, same_version, n=2, cutoff=0.85)
    if not containing and len(sure) == 1:
        return Match(next(name for name in names if _letters(name) == sure[0]), tuple(nearest))
    return Match(None, tuple(dict.fromkeys(nearest))[:3])


def options(definitions: Definitions, class_type: str, name: str) -> list[str] | None:
    """The values a COMBO input takes on this server, in either encoding; ``None`` when it is no COMBO or unknown."""
    spec = _spec(definitions.get(class_type, {}), name)
    if not spec:
        return None
    if isinstance(spec[0], list):
        return [str(option) for option in spec[0]]
    if spec[0] == "COMBO" and len(spec) > 1 and isinstance(spec[1].get("options"), list):
        return [str(option) for option in spec[1]["options"]]
    return None


def outdated(prompt: Prompt, definitions: Definitions) -> frozenset[str]:
    """The classes whose definitions lack a value of the prompt, and those that are absent: worth another fetch."""
    return frozenset(
        class_type
        for node in prompt.values()
        if (class_type := str(node.get("class_type"))) not in definitions
        or any(
            isinstance(value, str) and value not in (options(definitions, class_type, name) or (value,))
            for name, value in (node.get("inputs") or {}).items()
        )
    )


def check(prompt: Prompt, definitions: Definitions) -> list[Problem]:
    """Look for everything that would make this server refuse the graph, all of it at once.

    ``definitions`` must hold every class of the graph that the server has; a class that is absent counts as missing.
    """
    return list(_check(prompt, definitions))


def can_run(prompt: Prompt, definitions: Definitions) -> bool:
    """Whether ``check`` would find nothing; quicker where it would, since it stops at the first problem."""
    return next(_check(prompt, definitions), None) is None


def explain(refusal: Mapping[str, Any], prompt: Prompt, definitions: Definitions) -> list[Problem]:
    """Put the body of ComfyUI's 400, or the ``node_errors`` of its 200, into words; every error becomes one problem."""
    problems: list[Problem] = []
    for node_id, report in (refusal.get("node_errors") or {}).items():
        errors = report.get("errors") or ()
        problems += [_from_node_error(prompt, definitions, str(node_id), error) for error in errors]
    if problems:
        return problems
    missing = [problem for problem in check(prompt, definitions) if problem.code == "missing_node"]
    if missing:
        return missing
    error = refusal.get("error")
    reason = f"{error.get('message', '')} {error.get('details', '')}" if isinstance(error, Mapping) else str(error)
    reason = reason.strip() or "no reason given"
    code = str(error.get("type", "")) if isinstance(error, Mapping) else ""
    return [Problem("", "", "", code, f"ComfyUI says: {reason}", f"ComfyUI 的说明：{reason}")]


def sentences(problems: Sequence[Problem], *, most: int = 5) -> tuple[str, str]:
    """Join problems into one English and one Chinese text, naming how many were left out."""
    shown = problems[:most]
    english, chinese = " ".join(p.message_en for p in shown), "".join(p.message_zh for p in shown)
    if more := len(problems) - len(shown):
        english += f" (and {more} more)"
        chinese += f"（另有 {more} 处）"
    return english, chinese


def not_found(what_en: str, what_zh: str, wanted: str, names: Sequence[str]) -> tuple[str, str]:
    """Say that a name is not on the server: the nearest ones, and how many there are."""
    nearest = find_name(wanted, names).nearest or tuple(names[:3])
    if not names:
        return (
            f"{what_en} '{wanted}' is not on the server: it has none at all.",
            f"服务器上没有{what_zh}“{wanted}”，而且一个也没有安装。",
        )
    quoted = ", ".join(f"'{name}'" for name in nearest)
    return (
        f"{what_en} '{wanted}' is not on the server. Nearest of {len(names)}: {quoted}.",
        f"服务器上没有{what_zh}“{wanted}”。共有 {len(names)} 个，最接近的是：{quoted}。",
    )


def _check(prompt: Prompt, definitions: Definitions) -> Iterator[Problem]:
    for node_id in prompt:
        yield from _check_node(prompt, definitions, node_id)
    if not any(definitions.get(str(node.get("class_type")), {}).get("output_node") for node in prompt.values()):
        english, chinese = (
            "The workflow saves nothing: add a Save Image node.",
            "工作流没有输出：请添加“保存图像”节点。",
        )
        yield Problem("", "", "", "no_output", english, chinese)


def _check_node(prompt: Prompt, definitions: Definitions, node_id: str) -> Iterator[Problem]:
    node = prompt[node_id]
    class_type = str(node.get("class_type"))
    definition = definitions.get(class_type)
    if definition is None:
        yield _problem(
            prompt,
            node_id,
            "",
            "missing_node",
            f"the server does not know the node class '{class_type}'. Update ComfyUI, or install its custom node pack.",
            f"服务器没有节点类型“{class_type}”。请更新 ComfyUI，或安装对应的自定义节点。",
        )
        return
    for name in (definition.get("input") or {}).get("required") or {}:
        if name not in (node.get("inputs") or {}) and "." not in name:
            yield _problem(
                prompt, node_id, name, "required_input_missing", f"'{name}' is not set.", f"缺少输入“{name}”。"
            )
    for name, value in (node.get("inputs") or {}).items():
        link = as_link(value)
        if link is None:
            yield from _check_value(prompt, definitions, node_id, name, value)
        elif link.node_id not in prompt:
            yield _problem(
                prompt,
                node_id,
                name,
                "dangling_link",
                f"'{name}' is wired to node {link.node_id}, which is not in the workflow.",
                f"“{name}”连接到不存在的节点 {link.node_id}。",
            )


def _check_value(prompt: Prompt, definitions: Definitions, node_id: str, name: str, value: Any) -> Iterator[Problem]:
    class_type = str(prompt[node_id]["class_type"])
    names = options(definitions, class_type, name)
    if names is not None:
        # A list as value is an array-valued widget; ComfyUI compares each of its elements itself.
        if not isinstance(value, list) and str(value) not in names:
            yield _not_in_list(prompt, node_id, name, str(value), names)
        return
    spec = _spec(definitions[class_type], name)
    # ComfyUI coerces text itself; what else is no number it refuses in words of its own.
    if not spec or spec[0] not in ("INT", "FLOAT") or not isinstance(value, (int, float)):
        return
    limits = spec[1] if len(spec) > 1 else {}
    low, high = limits.get("min"), limits.get("max")
    if low is not None and value < low:
        yield _out_of_range(prompt, node_id, name, "value_smaller_than_min", (value, low, high))
    elif high is not None and value > high:
        yield _out_of_range(prompt, node_id, name, "value_bigger_than_max", (value, low, high))


def _from_node_error(prompt: Prompt, definitions: Definitions, node_id: str, error: Mapping[str, Any]) -> Problem:
    code = str(error.get("type", ""))
    extra = error.get("extra_info") or {}
    name = str(extra.get("input_name", ""))
    class_type = str(prompt.get(node_id, {}).get("class_type", ""))
    if code == "value_not_in_list":
        # ComfyUI lists the options only when they are few, so they are taken from its definitions.
        names = options(definitions, class_type, name) or []
        return _not_in_list(prompt, node_id, name, str(extra.get("received_value", "")), names)
    if code in ("value_smaller_than_min", "value_bigger_than_max"):
        config = extra.get("input_config") or [None, {}]
        limits = config[1] if len(config) > 1 else {}
        return _out_of_range(
            prompt, node_id, name, code, (extra.get("received_value"), limits.get("min"), limits.get("max"))
        )
    message = f"{error.get('message', '')} ({error.get('details', '')})".replace(" ()", "")
    return _problem(prompt, node_id, name, code, f"{message}.", f"{message}。")


def _not_in_list(prompt: Prompt, node_id: str, name: str, value: str, names: Sequence[str]) -> Problem:
    if _MODEL_FILE.search(value):
        english, chinese = not_found("the file", "文件", value, names)
        return _problem(prompt, node_id, name, "missing_model", english, chinese)
    english, chinese = not_found(name, f" {name} 选项", value, names)
    return _problem(prompt, node_id, name, "value_not_in_list", english, chinese)


def _out_of_range(prompt: Prompt, node_id: str, name: str, code: str, numbers: tuple[Any, Any, Any]) -> Problem:
    value, low, high = numbers
    return _problem(
        prompt,
        node_id,
        name,
        code,
        f"{name} is {value}, but must be from {low} to {high}.",
        f"{name} 为 {value}，应在 {low} 到 {high} 之间。",
    )


def _problem(prompt: Prompt, node_id: str, name: str, code: str, english: str, chinese: str) -> Problem:
    label = title(prompt, node_id)
    return Problem(
        node_id, label, name, code, f"Node {node_id} ({label}): {english}", f"节点 {node_id}（{label}）：{chinese}"
    )


def _spec(definition: Mapping[str, Any], name: str) -> list[Any]:
    groups: Iterable[Mapping[str, Any]] = (definition.get("input") or {}).values()
    for group in groups:
        spec = (group or {}).get(name)
        if isinstance(spec, list):
            return spec
    return []


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _path(name: str) -> str:
    return _MODEL_FILE.sub("", _slashes(name).casefold())


def _basename(name: str) -> str:
    return _slashes(name).rsplit("/", 1)[-1].casefold()


def _stem(name: str) -> str:
    return _MODEL_FILE.sub("", _basename(name))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", _stem(name))


def _digits(name: str) -> str:
    return re.sub(r"\D", "", _stem(name))

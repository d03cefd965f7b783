"""What is missing or wrong in a graph on a given server, and what to do about it. Pure.

``check`` looks before sending, ``repair`` mends what is certain; ``explain`` reads ComfyUI's own refusal
(``execution.py``, ``validate_prompt``). All speak the same words, in English and in Chinese.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge.graph import Graph, input_spec, spec_options
from comfybridge.nearest import MODEL_FILE, same_file
from comfybridge.nearest import Match as Match
from comfybridge.nearest import find_name as find_name
from comfybridge.nearest import not_found as not_found
from comfybridge.workflow import (
    Definitions,
    InputRef,
    Prompt,
    as_link,
    fill,
    output_nodes,
    title,
)

# "x.png [output]" names another folder; ComfyUI lists none of these, nor what lies in a folder below.
_ELSEWHERE = re.compile(r"[/\\]| \[(input|output|temp)\]$")
_UPLOADS = {
    "image_upload": ("missing_image", "the image", "图片"),
    "video_upload": ("missing_file", "the video", "视频"),
    "audio_upload": ("missing_file", "the audio file", "音频"),
}
_NO_OUTPUT = (
    "The workflow saves nothing: add a Save Image node.",
    "工作流没有输出：请添加“保存图像”节点。",
)
# ComfyUI's errors in our words; {name} is the input, {details} what ComfyUI says of it.
_NODE_ERRORS = {
    "required_input_missing": ("'{name}' is not set.", "缺少输入“{name}”。"),
    "invalid_input_type": (
        "'{name}' is {value}, which is not of the type {type}.",
        "“{name}”的值 {value} 不是 {type} 类型。",
    ),
    "bad_linked_input": (
        "'{name}' is no proper wire: a wire is a node id and the number of an output.",
        "“{name}”的连线无效：连线应为节点编号和输出序号。",
    ),
    "return_type_mismatch": (
        "'{name}' takes {type}, but {received} is wired to it.",
        "“{name}”需要 {type} 类型，但连接的是 {received}。",
    ),
    "custom_validation_failed": (
        "the node refuses its values: {details}.",
        "节点拒绝了输入值：{details}。",
    ),
    "exception_during_validation": (
        "ComfyUI could not check the node: {details}.",
        "ComfyUI 无法校验该节点：{details}。",
    ),
    "exception_during_inner_validation": (
        "ComfyUI could not check what '{name}' is wired to: {details}.",
        "ComfyUI 无法校验“{name}”所连接的节点：{details}。",
    ),
}
_WHOLE_ERRORS = {
    "no_prompt": ("No workflow was sent.", "没有收到工作流。"),
    "prompt_no_outputs": _NO_OUTPUT,
    # A gateway's, which knows who asks.
    "template_not_allowed": (
        "This API key may use these templates only, as they are: {details}. Choose one, with its model and no LoRAs.",
        "此 API 密钥只能原样使用以下模板：{details}。请选择其中之一，且不要更换模型或添加 LoRA。",
    ),
    "too_many_pixels": (
        "This API key may not make as many pixels ({details}). Choose a smaller size or fewer pictures.",
        "此 API 密钥不允许生成这么多像素（{details}）。请减小尺寸或图片数量。",
    ),
}
_LONGEST_VALUE, _LONGEST_QUOTE = 80, 300
INPUT_FILE = ("missing_image", "missing_file")
"""The codes of problems with files in the server's ``input`` folder."""

_NO_CLASS = re.compile(r"node '?(?P<class>.+?)'? (?:does not exist|not found)")
_NO_FILE = re.compile(r"Invalid (?P<kind>\w+) file: (?P<file>.+)")
_NODE_ID = re.compile(r"#([\w:]+)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a graph from running; ``input`` and ``node_id`` are empty where none is to blame.

    ``code`` is ``missing_node``, ``missing_model``, ``missing_image``, ``missing_file``, ``dangling_link``, ``cycle``,
    ``no_output``, ``no_key``, or ComfyUI's own error type.
    """

    node_id: str
    title: str
    input: str
    code: str
    message_en: str
    message_zh: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """A graph with its models as the server spells them; ``notes`` tell what was changed, in English and Chinese."""

    prompt: Prompt
    notes: tuple[tuple[str, str], ...]


def options(definitions: Definitions, class_type: str, name: str) -> list[str] | None:
    """The values a COMBO input takes on this server, in either encoding; ``None`` when it is no COMBO or unknown."""
    listed = _listed(input_spec(definitions.get(class_type, {}), name))
    return None if listed is None else [str(option) for option in listed]


def _listed(spec: list[Any]) -> list[Any] | None:
    """The values of a COMBO as the server has them, numbers too."""
    if spec and isinstance(spec[0], list):
        return spec[0]
    listed = spec_options(spec).get("options") if spec and spec[0] == "COMBO" else None
    return listed if isinstance(listed, list) else None


def is_elsewhere(file: str) -> bool:
    """Whether a file's name says that it is in another folder of the server: ``picture.png [output]``."""
    return bool(_ELSEWHERE.search(file))


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


def check(prompt: Prompt, definitions: Definitions, *, has_key: bool = False) -> list[Problem]:
    """Look for everything that would make this server refuse the graph, all of it at once.

    ``definitions`` must hold every class of the graph that the server has; a class that is absent counts as missing.
    ``has_key`` tells that the job goes with a comfy.org key, which the nodes of paid services need.
    """
    return list(_problems(Graph(prompt, definitions), has_key=has_key))


def can_run(prompt: Prompt, definitions: Definitions) -> bool:
    """Whether ``check`` would find nothing after ``repair`` but input files that a caller can give.

    Quicker where it would: it stops at the first problem.
    """
    problems = _problems(Graph(repair(prompt, definitions).prompt, definitions), has_key=False)
    return all(problem.code in INPUT_FILE for problem in problems)


def repair(prompt: Prompt, definitions: Definitions) -> Repaired:
    """Use the same model file where this server has it under another folder, slash or case, if there is only one."""
    graph = Graph(prompt, definitions)
    found: dict[InputRef, str] = {}
    notes: list[tuple[str, str]] = []
    for node_id in prompt:
        for name, value in graph.inputs(node_id).items():
            if not isinstance(value, str) or not MODEL_FILE.search(value):
                continue
            names = options(definitions, graph.class_type(node_id), name)
            if names is None or value in names:
                continue
            same = same_file(value, names)
            if same is not None:
                found[InputRef(node_id, name)] = same
                label = title(prompt, node_id)
                notes.append(
                    (
                        f"Node {node_id} ({label}): '{value}' is '{same}' on this server.",
                        f"节点 {node_id}（{label}）：“{value}”在此服务器上为“{same}”。",
                    )
                )
    return Repaired(fill(prompt, found) if found else prompt, tuple(notes))


def highest(definitions: Definitions, node: Mapping[str, Any], name: str) -> float | None:
    """The largest number that an input of a node takes; ``None`` where it has no such limit."""
    limit = spec_options(input_spec(definitions.get(node["class_type"], {}), name)).get("max")
    return limit if isinstance(limit, int | float) else None


def explain(refusal: Mapping[str, Any], prompt: Prompt, definitions: Definitions) -> list[Problem]:
    """Put the body of ComfyUI's 400, or the ``node_errors`` of its 200, into words; every error becomes one problem."""
    graph = Graph(prompt, definitions)
    # What ComfyUI stumbles over without saying what it is.
    own = [problem for problem in check(prompt, definitions) if problem.code in ("dangling_link", "cycle")]
    problems: list[Problem] = []
    for node_id, error in _node_errors(refusal.get("node_errors")):
        code = str(error.get("type", ""))
        better = [problem for problem in own if problem.node_id == node_id and code.startswith("exception_")]
        problems += better or [_from_node_error(graph, node_id, error)]
    return list(dict.fromkeys(problems)) or own or _from_error(graph, refusal)


def _node_errors(said: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each error with its node; without what is not written as ComfyUI writes it, as a fork or a gateway may."""
    for node_id, report in said.items() if isinstance(said, Mapping) else ():
        errors = report.get("errors") if isinstance(report, Mapping) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, Mapping) and error:
                yield str(node_id), error


def sentences(problems: Sequence[Problem], *, most: int = 5) -> tuple[str, str]:
    """Join problems into one English and one Chinese line, naming how many were left out."""
    shown = problems[:most]
    english, chinese = (
        " ".join(" ".join(p.message_en.splitlines()) for p in shown),
        "".join(" ".join(p.message_zh.splitlines()) for p in shown),
    )
    if more := len(problems) - len(shown):
        english += f" (and {more} more)"
        chinese += f"（另有 {more} 处）"
    return english, chinese


def _problems(graph: Graph, *, has_key: bool) -> Iterator[Problem]:
    for node_id in graph.prompt:
        yield from _check_node(graph, node_id, has_key=has_key)
    yield from _cycles(graph)
    if not any(node_id for node_id in output_nodes(graph.prompt, graph.definitions) if graph.definition(node_id)):
        yield Problem("", "", "", "no_output", *_NO_OUTPUT)


def _check_node(graph: Graph, node_id: str, *, has_key: bool) -> Iterator[Problem]:
    class_type, definition, inputs = (
        graph.class_type(node_id),
        graph.definition(node_id),
        graph.inputs(node_id),
    )
    if class_type not in graph.definitions:
        yield _missing_node(graph, node_id, class_type)
        return
    if definition.get("api_node") and not has_key:
        yield _problem(
            graph,
            node_id,
            "",
            "no_key",
            "the node calls a paid service and needs a comfy.org key.",
            "该节点调用付费服务，需要 comfy.org 密钥。",
        )
    declared = definition.get("input")
    required = declared.get("required") if isinstance(declared, Mapping) else None
    for name in required or ():
        # Some inputs are there only as parts, images.image0 and so on.
        is_given = name in inputs or any(given.startswith(f"{name}.") for given in inputs)
        if not is_given and _must_be_given(input_spec(definition, name)):
            yield _problem(
                graph,
                node_id,
                name,
                "required_input_missing",
                *_words("required_input_missing", name=name),
            )
    for name, value in inputs.items():
        link = as_link(value)
        if link is None:
            yield from _check_value(graph, node_id, name, value)
        elif link.node_id not in graph.prompt:
            yield _problem(
                graph,
                node_id,
                name,
                "dangling_link",
                f"'{name}' is wired to node {link.node_id}, which is not in the workflow.",
                f"“{name}”连接到不存在的节点 {link.node_id}。",
            )


def _must_be_given(spec: list[Any]) -> bool:
    """Whether an input has to be there; a growing one may begin with none."""
    if not spec or spec[0] != "COMFY_AUTOGROW_V3":
        return True
    template = spec_options(spec).get("template")
    return bool(template.get("min", 0)) if isinstance(template, Mapping) else True


def _check_value(graph: Graph, node_id: str, name: str, value: Any) -> Iterator[Problem]:
    spec = input_spec(graph.definition(node_id), name)
    limits, listed = spec_options(spec), _listed(spec)
    if listed is not None:
        # A list as value is an array-valued widget; ComfyUI compares each of its elements itself.
        if isinstance(value, list) or (isinstance(value, str) and value in listed):
            return
        names = [str(option) for option in listed]
        if str(value) in names:
            return
        upload = next((words for flag, words in _UPLOADS.items() if limits.get(flag)), None)
        if upload is not None:
            if not is_elsewhere(str(value)):
                yield _no_file(graph, node_id, name, str(value), *upload)
        # A list that is empty on the server is filled by the front end, unless it is one of files.
        elif names or MODEL_FILE.search(str(value)):
            yield _not_in_list(graph, node_id, name, str(value), names)
        return
    if not spec or spec[0] not in ("INT", "FLOAT"):
        return
    if isinstance(value, str) and not _is_number(value, spec[0]):
        yield _problem(
            graph,
            node_id,
            name,
            "invalid_input_type",
            *_words("invalid_input_type", name=name, value=_shortened(value), type=spec[0]),
        )
    # ComfyUI coerces text itself; what else is no number it refuses in words of its own.
    if not isinstance(value, int | float):
        return
    low, high = limits.get("min"), limits.get("max")
    if low is not None and value < low:
        yield _out_of_range(graph, node_id, name, "value_smaller_than_min", (value, low, high))
    elif high is not None and value > high:
        yield _out_of_range(graph, node_id, name, "value_bigger_than_max", (value, low, high))


def _is_number(text: str, kind: str) -> bool:
    try:
        int(text) if kind == "INT" else float(text)
    except ValueError:
        return False
    return True


def _cycles(graph: Graph) -> Iterator[Problem]:
    """Each ring of nodes that wait for each other."""
    feeding = {node_id: {link.node_id for link in graph.links(node_id).values()} for node_id in graph.prompt}
    fed: dict[str, list[str]] = {}
    for node_id, sources in feeding.items():
        for source in sources:
            fed.setdefault(source, []).append(node_id)
    open_wires = {node_id: len(sources) for node_id, sources in feeding.items()}
    ready = [node_id for node_id, count in open_wires.items() if not count]
    while ready:
        for node_id in fed.get(ready.pop(), ()):
            open_wires[node_id] -= 1
            if not open_wires[node_id]:
                ready.append(node_id)
    stuck = [node_id for node_id, count in open_wires.items() if count]
    done: set[str] = set()
    for node_id in stuck:
        path: dict[str, None] = {}
        at = node_id
        while at not in path and at not in done:
            path[at] = None
            at = next(source for source in feeding[at] if open_wires[source])
        if at not in done:
            ring = list(path)[list(path).index(at) :]
            around = " → ".join([*reversed(ring), ring[-1]])
            yield _problem(
                graph,
                at,
                "",
                "cycle",
                f"the nodes {around} wait for each other.",
                f"节点 {around} 互相等待，形成循环。",
            )
        done.update(path)


def _from_node_error(graph: Graph, node_id: str, error: Mapping[str, Any]) -> Problem:
    code = str(error.get("type", ""))
    extra = error.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    name = _cut(str(extra.get("input_name", "")))
    details = _cut(str(error.get("details") or error.get("message") or ""))
    config = extra.get("input_config")
    spec = config if isinstance(config, list) else []
    if code == "value_not_in_list":
        # ComfyUI lists the options only when they are few, so they are taken from its definitions.
        names = options(graph.definitions, graph.class_type(node_id), name) or []
        return _not_in_list(graph, node_id, name, _cut(str(extra.get("received_value", ""))), names)
    if code in ("value_smaller_than_min", "value_bigger_than_max"):
        limits = spec_options(spec)
        return _out_of_range(
            graph,
            node_id,
            name,
            code,
            (_shortened(extra.get("received_value")), _shortened(limits.get("min")), _shortened(limits.get("max"))),
        )
    if (no_file := _NO_FILE.search(details)) is not None:
        words = _UPLOADS.get(f"{no_file['kind'].lower()}_upload", ("missing_file", "the file", "文件"))
        return _no_file(graph, node_id, name, no_file["file"], *words)
    if code in _NODE_ERRORS:
        facts = {
            "name": name,
            "value": _shortened(extra.get("received_value")),
            "type": _cut(str(spec[0])) if spec else "?",
            "received": _cut(str(extra.get("received_type", "?"))),
            "details": details.rstrip("."),
        }
        return _problem(graph, node_id, name, code, *_words(code, **facts))
    message = _cut(f"{error.get('message', '')} ({error.get('details', '')})".replace(" ()", "").strip())
    message = message or _as_sent(error)
    return _problem(graph, node_id, name, code, f"{message}.", f"{message}。")


def _from_error(graph: Graph, refusal: Mapping[str, Any]) -> list[Problem]:
    """What ComfyUI has against the graph as a whole."""
    error = refusal.get("error")
    if not isinstance(error, Mapping):
        said = error or refusal.get("node_errors")
        reason = _cut(said) if isinstance(said, str) else _as_sent(said) if said else "no reason given"
        return [Problem("", "", "", "", f"ComfyUI says: {reason}", f"ComfyUI 的说明：{reason}")]
    code, message = str(error.get("type", "")), str(error.get("message", ""))
    details = str(error.get("details", ""))
    missing = [problem for problem in check(graph.prompt, graph.definitions) if problem.code == "missing_node"]
    named = _NO_CLASS.search(message)
    blamed = _NODE_ID.search(details)
    if named is not None and blamed is not None and not graph.definitions:
        return [_missing_node(graph, blamed[1], named["class"])]
    if missing and (graph.definitions or code == "invalid_prompt"):
        return missing
    if code in _WHOLE_ERRORS:
        english, chinese = (words.format(details=_cut(details)) for words in _WHOLE_ERRORS[code])
        return [Problem("", "", "", "no_output" if code == "prompt_no_outputs" else code, english, chinese)]
    reason = _cut(f"{message} {details}".strip())
    reason = reason or (_as_sent(left) if (left := refusal.get("node_errors") or error) else "no reason given")
    return [Problem("", "", "", code, f"ComfyUI says: {reason}", f"ComfyUI 的说明：{reason}")]


def _missing_node(graph: Graph, node_id: str, class_type: str) -> Problem:
    if not class_type:
        english = "it says no node class (class_type)."
        return _problem(graph, node_id, "", "missing_node", english, "缺少节点类型（class_type）。")
    pack = _pack(graph.prompt.get(node_id))
    if pack == "comfy-core":
        english, chinese = "Update ComfyUI.", "请更新 ComfyUI。"
    elif pack:
        english, chinese = (
            f"Install the custom node pack '{pack}'.",
            f"请安装自定义节点包“{pack}”。",
        )
    else:
        english, chinese = (
            "Update ComfyUI, or install its custom node pack.",
            "请更新 ComfyUI，或安装对应的自定义节点。",
        )
    return _problem(
        graph,
        node_id,
        "",
        "missing_node",
        f"the server does not know the node class '{class_type}'. {english}",
        f"服务器没有节点类型“{class_type}”。{chinese}",
    )


def _pack(node: Any) -> str:
    """The pack that a node comes from, where the file says it; empty where not."""
    if not isinstance(node, Mapping):
        return ""
    meta = node.get("_meta")
    inner = meta.get("properties") if isinstance(meta, Mapping) else None
    for place in (node.get("properties"), meta, inner):
        for key in ("cnr_id", "aux_id", "pack"):
            if isinstance(place, Mapping) and isinstance(place.get(key), str) and place[key]:
                return str(place[key])
    return ""


def _no_file(
    graph: Graph,
    node_id: str,
    name: str,
    file: str,
    code: str,
    what_en: str,
    what_zh: str,
) -> Problem:
    named = _ELSEWHERE.search(file)
    folder = (named and named[1]) or "input"
    return _problem(
        graph,
        node_id,
        name,
        code,
        f"{what_en} '{file}' is not in the server's {folder} folder: upload it, or give another.",
        f"服务器的 {folder} 文件夹中没有{what_zh}“{file}”：请上传，或换用其他文件。",
    )


def _not_in_list(graph: Graph, node_id: str, name: str, value: str, names: Sequence[str]) -> Problem:
    if MODEL_FILE.search(value):
        english, chinese = not_found("the file", "文件", value, names)
        return _problem(graph, node_id, name, "missing_model", english, chinese)
    english, chinese = not_found(name, f" {name} 选项", value, names)
    return _problem(graph, node_id, name, "value_not_in_list", english, chinese)


def _out_of_range(graph: Graph, node_id: str, name: str, code: str, numbers: tuple[Any, Any, Any]) -> Problem:
    value, low, high = numbers
    return _problem(
        graph,
        node_id,
        name,
        code,
        f"{name} is {value}, but must be from {low} to {high}.",
        f"{name} 为 {value}，应在 {low} 到 {high} 之间。",
    )


def _words(code: str, **facts: str) -> tuple[str, str]:
    english, chinese = _NODE_ERRORS[code]
    return english.format_map(facts), chinese.format_map(facts)


def _shortened(value: Any) -> str:
    return _cut(repr(value), _LONGEST_VALUE)


def _as_sent(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str, most: int = _LONGEST_QUOTE) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _problem(graph: Graph, node_id: str, name: str, code: str, english: str, chinese: str) -> Problem:
    label = title(graph.prompt, node_id)
    return Problem(
        node_id,
        label,
        name,
        code,
        f"Node {node_id} ({label}): {english}",
        f"节点 {node_id}（{label}）：{chinese}",
    )

"""Where a caller's values and files go in a graph: by role, by a name of the user's own, by node and input. Pure."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge import preflight, workflow
from comfybridge.errors import InvalidInput
from comfybridge.graph import Graph, input_spec, spec_options
from comfybridge.marks import FILES, role_of
from comfybridge.media import InputFile
from comfybridge.workflow import Definitions, InputRef, Prompt, Roles, as_link, output_nodes, title

_ROLES_OF_KIND = {"image": ("images", "masks"), "video": ("video",), "audio": ("audio",)}
_MOST_NAMED = 12
RANDOM_SEEDS = ("-1", "random")
"""What other tools mean by these: choose one."""
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
# In English, in Chinese, and with what Chinese counts it.
_KINDS = {"image": ("picture", "图片", "张"), "video": ("video", "视频", "段"), "audio": ("sound", "音频", "段")}


@dataclass(frozen=True, slots=True)
class PlacedFiles:
    """The input that each file goes into, and the values that named none of the files."""

    files: Mapping[InputRef, InputFile]
    values: Mapping[str, Any]


def place_files(
    prompt: Prompt, roles: Roles, files: Sequence[InputFile], values: Mapping[str, Any], definitions: Definitions
) -> PlacedFiles:
    """Give each file an input: by a value that names the file, by a file name that names the input, else in order.

    The order is that of the graph's nodes; pictures go to the ``images`` first, then to the ``masks``.

    Raises:
        InvalidInput: there is no input left for a file.
    """
    refs = [ref for role in FILES for ref in roles[role]]
    placed: dict[InputRef, InputFile] = {}
    others: dict[str, Any] = {}
    for name, value in values.items():
        named = next((file for file in files if file.filename and file.filename == value), None)
        at = _find(prompt, roles, name, definitions) if named is not None else ()
        if named is not None and at and set(at) <= set(refs):
            placed |= dict.fromkeys(at, named)
        else:
            others[name] = value
    waiting = [file for file in files if not any(file is taken for taken in placed.values())]
    for file in tuple(waiting):
        ref = next((ref for ref in refs if ref not in placed and _is_called(prompt, roles, ref, file)), None)
        if ref is not None:
            placed[ref] = file
            waiting.remove(file)
    for file in waiting:
        free = [ref for role in _ROLES_OF_KIND.get(file.media.kind, ()) for ref in roles[role] if ref not in placed]
        if not free:
            raise _no_input_for(file, roles)
        placed[free[0]] = file
    return PlacedFiles(placed, others)


def place_values(
    prompt: Prompt, roles: Roles, values: Mapping[str, Any], definitions: Definitions
) -> dict[InputRef, Any]:
    """The inputs that values set, each value in the type that its input has.

    A name is a role or what people call it, a name of the user's own, ``node id.input``, ``node title.input``, or the
    name of an input that only one node has. An empty value that is no text changes nothing.

    Raises:
        InvalidInput: the graph has nothing of that name, or the value does not fit.
    """
    graph = Graph(prompt, definitions)
    by_role: dict[str, Any] = {}
    by_place: dict[InputRef, Any] = {}
    for name, value in values.items():
        role = _role(roles, name)
        refs = _find(prompt, roles, name, definitions)
        if _says_nothing(graph, refs[0], value, is_seed=refs[0] in roles["seed"]):
            continue
        if role is not None:
            by_role[role] = _fitting(graph, refs[0], name, value)
            continue
        for ref in refs:
            by_place[ref] = _fitting(graph, ref, name, value)
    return {**workflow.assign(prompt, roles, by_role), **by_place}


def without(prompt: Prompt, node_ids: Iterable[str], definitions: Definitions) -> Prompt | None:
    """The graph without these nodes and what cannot be without them; ``None`` when then an output would be missing."""
    graph = Graph(prompt, definitions)
    gone = set(node_ids)
    kept: dict[str, dict[str, Any]] = {}
    while True:
        before = len(gone)
        kept = {}
        for node_id, node in prompt.items():
            lost = [name for name, link in graph.links(node_id).items() if link.node_id in gone]
            groups = graph.definition(node_id).get("input") or {}
            if any(name not in (groups.get("optional") or {}) for name in lost):
                gone.add(node_id)
            elif node_id not in gone:
                inputs = {name: value for name, value in graph.inputs(node_id).items() if name not in lost}
                kept[node_id] = {**node, "inputs": inputs}
        if len(gone) == before:
            break
    return None if gone.intersection(output_nodes(prompt, definitions)) else kept


def _role(roles: Roles, name: str) -> str | None:
    """The role, or the user's own name, that is meant; ``None`` when the graph has none of this name."""
    if name in roles.named:
        return name
    own = next((known for known in roles.named if known.casefold() == name.strip().casefold()), None)
    role = role_of(name)
    return own or (role if role is not None and roles[role] else None)


def _find(prompt: Prompt, roles: Roles, name: str, definitions: Definitions) -> tuple[InputRef, ...]:
    role = _role(roles, name)
    if role is not None:
        return roles[role] or roles.named[role]
    name = name.strip()
    graph = Graph(prompt, definitions)
    for left, right in _splits(name):
        titled = [node_id for node_id in prompt if title(prompt, node_id).strip().casefold() == left.casefold()]
        for node_ids in ([left] if left in prompt else [], titled):
            having = [node_id for node_id in node_ids if _has(graph, node_id, right)]
            if len(having) == 1:
                return (InputRef(having[0], right),)
            if having:
                raise InvalidInput(
                    f"'{name}' is on several nodes: write {' or '.join(f'{node_id}.{right}' for node_id in having)}.",
                    f"“{name}”对应多个节点：请写成 {' 或 '.join(f'{node_id}.{right}' for node_id in having)}。",
                )
    bare = [InputRef(node_id, name) for node_id in prompt if name in graph.inputs(node_id)]
    literal = [ref for ref in bare if as_link(graph.value(ref)) is None]
    if len(literal) == 1:
        return (literal[0],)
    raise _unknown(prompt, roles, name, literal)


def _splits(name: str) -> list[tuple[str, str]]:
    return [(name[:at].strip(), name[at + 1 :].strip()) for at, character in enumerate(name) if character == "." and at]


def _has(graph: Graph, node_id: str, name: str) -> bool:
    return name in graph.inputs(node_id) or bool(input_spec(graph.definition(node_id), name))


def _is_called(prompt: Prompt, roles: Roles, ref: InputRef, file: InputFile) -> bool:
    stem = file.filename.rpartition(".")[0] or file.filename
    # "mask" is what such files are called; "image" says nothing of which picture it is.
    if role_of(stem) == "masks" and ref in roles["masks"]:
        return True
    names = [ref.node_id, title(prompt, ref.node_id), *(name for name, refs in roles.named.items() if ref in refs)]
    return bool(stem) and stem.casefold() in [name.casefold() for name in names]


def _fitting(graph: Graph, ref: InputRef, name: str, value: Any) -> Any:
    """The value in the type of its input, as far as text can be read as that; InvalidInput where not."""
    spec = input_spec(graph.definition(ref.node_id), ref.input)
    now = graph.value(ref)
    names = preflight.options(graph.definitions, graph.class_type(ref.node_id), ref.input)
    if names is not None:
        is_upload = any(key.endswith("_upload") and flag for key, flag in spec_options(spec).items())
        return str(value) if is_upload or not names else _option(name, str(value), names)
    declared = str(spec[0]) if spec else _TYPE_OF.get(type(now), "")
    if declared not in _READERS:
        if as_link(now) is None and not spec:
            return value
        raise InvalidInput(
            f"'{name}' takes {declared or 'a wire'} from another node, no value.",
            f"“{name}”需要来自其他节点的 {declared or '连线'}，不能直接赋值。",
        )
    what_en, what_zh, read = _READERS[declared]
    fitting = read(value)
    if fitting is None:
        raise InvalidInput(f"'{name}' must be {what_en}, not '{value}'.", f"“{name}”必须是{what_zh}，而不是“{value}”。")
    return fitting


def _says_nothing(graph: Graph, ref: InputRef, value: Any, *, is_seed: bool) -> bool:
    """Whether the value leaves the input as it is: empty where that is no text, or a seed that is to be chosen."""
    text = str(value).strip().lower()
    if is_seed and text in RANDOM_SEEDS:
        return True
    spec = input_spec(graph.definition(ref.node_id), ref.input)
    return not text and bool(spec) and spec[0] != "STRING"


def _option(name: str, value: str, names: Sequence[str]) -> str:
    match = preflight.find_name(value, names)
    if match.name is None:
        raise InvalidInput(*preflight.not_found(f"'{name}':", f"“{name}”的选项", value, names))
    return match.name


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _flag(value: Any) -> bool | None:
    text = str(value).strip().lower()
    return text in _TRUE if text in _TRUE or text in _FALSE else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_READERS = {
    "INT": ("a whole number", "整数", _whole),
    "FLOAT": ("a number", "数字", _number),
    "BOOLEAN": ("true or false", " true 或 false", _flag),
    "STRING": ("text", "文本", _text),
}
_TYPE_OF = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}


def _unknown(prompt: Prompt, roles: Roles, name: str, several: Sequence[InputRef]) -> InvalidInput:
    places = [f"{ref.node_id}.{ref.input}" for ref in several] or [
        f"{node_id}.{key}"
        for node_id, node in prompt.items()
        for key, value in node.get("inputs", {}).items()
        if as_link(value) is None
    ]
    names = [*roles.inputs, *roles.named]
    near = (several and places) or difflib.get_close_matches(name, [*names, *places], n=3, cutoff=0.4)
    shown = list(dict.fromkeys([*near, *names]))[:_MOST_NAMED]
    english = f"The workflow has no '{name}'." if not several else f"'{name}' is in several nodes."
    chinese = f"工作流中没有“{name}”。" if not several else f"“{name}”出现在多个节点中。"
    return InvalidInput(
        f"{english} It has, among others: {', '.join(shown)}; or write node id.input.",
        f"{chinese}可用的有：{'、'.join(shown)}；也可以写“节点编号.输入名”。",
    )


def _no_input_for(file: InputFile, roles: Roles) -> InvalidInput:
    english, chinese, counted = _KINDS.get(file.media.kind, ("file", "文件", "个"))
    count = sum(len(roles[role]) for role in _ROLES_OF_KIND.get(file.media.kind, ()))
    if not count:
        return InvalidInput(f"The workflow loads no {english}: leave it out.", f"该工作流不需要{chinese}：请不要提供。")
    return InvalidInput(
        f"The workflow loads {count} {english}{'' if count == 1 else 's'}, more were given.",
        f"该工作流只需要 {count} {counted}{chinese}，提供的数量过多。",
    )

"""WebSocket frames and history entries as values. Pure: text and JSON in, dataclasses out.

The shapes are those of ComfyUI's ``execution.py``, ``main.py`` and ``server.py``.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

ASK_FOR_LINKS = {"Comfybridge-Links": "signed"}
"""The header by which a client asks a gateway for links to the files of a history entry; ComfyUI ignores it."""
LINK = "signed_url"
"""Where such a link stands, beside ``filename``."""

# What can stand in Markdown as it is.
_WEB = re.compile(r"https?://[^\s()<>\[\]\\]{1,2000}")


@dataclass(frozen=True, slots=True)
class QueueSize:
    """``status``: how many prompts wait or run on the server, everybody's."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Started:
    """``execution_start``: the prompt left the queue."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """``progress``: ``value`` of ``maximum`` steps of one node are done."""

    prompt_id: str
    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Ended:
    """``executing`` with a null node: the history is written. No proof of success, ``main.py`` always sends it."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """No frame of ComfyUI's, but what is heard last of a socket: it ended, or turned out deaf."""


Frame: TypeAlias = QueueSize | Started | Progress | Ended
Heard: TypeAlias = Frame | Disconnected


def read_frame(text: str | bytes) -> Frame | None:
    """Read one WebSocket text frame; ``None`` when it is of a kind we do not act on, or no frame of ComfyUI at all."""
    try:
        message = json.loads(text)
        data = message["data"]
        match message["type"]:
            case "status" if "sid" in data:
                # The greeting of a new socket (server.py): how the queue was before anything of ours was in it.
                return None
            case "status":
                return QueueSize(int(data["status"]["exec_info"]["queue_remaining"]))
            case "execution_start":
                return Started(_text(data["prompt_id"]))
            case "progress":
                return Progress(_text(data["prompt_id"]), str(data["node"]), float(data["value"]), float(data["max"]))
            case "executing" if data["node"] is None:
                return Ended(_text(data["prompt_id"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a node saved; ``type`` is ComfyUI's folder: ``output``, ``temp`` or ``input``.

    ``link`` opens it in any browser for a while; empty where the server gives none, as ComfyUI itself.
    """

    node_id: str
    filename: str
    subfolder: str
    type: str
    link: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The files and the texts of a finished prompt, in the order of the graph's nodes.

    ``cached`` are the nodes that ComfyUI did not run: their files are those of an earlier prompt.
    """

    outputs: tuple[Output, ...]
    texts: tuple[str, ...] = ()
    cached: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """The node that raised, with ComfyUI's words for the cause; the traceback stays behind (it names server paths)."""

    node_id: str
    class_type: str
    exception_type: str
    exception_message: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody interrupted the running prompt."""

    node_id: str


HistoryEntry: TypeAlias = Succeeded | NodeFailed | Interrupted


def read_history(entry: Mapping[str, Any]) -> HistoryEntry:
    """Read one entry of ``GET /history/{prompt_id}``.

    Decided by ``status`` alone: a failed prompt has outputs too, those of the nodes that ran before.
    """
    status = _mapping(entry.get("status"))
    if status.get("status_str") != "error":
        nodes = _in_order(entry)
        return Succeeded(tuple(_outputs(nodes)), tuple(_texts(nodes)), _cached(status))
    for name, data in reversed(_messages(status)):
        if name == "execution_error":
            return NodeFailed(
                str(data.get("node_id", "")),
                str(data.get("node_type", "")),
                str(data.get("exception_type", "")),
                str(data.get("exception_message", "")).strip(),
            )
        if name == "execution_interrupted":
            return Interrupted(str(data.get("node_id", "")))
    return NodeFailed("", "", "", "ComfyUI reported an error without a cause")


def sent_with(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The graph of a history entry and the ``extra_data`` that went with it; empty where the entry has none."""
    # [number, prompt_id, graph, extra_data, outputs]
    prompt = entry.get("prompt")
    graph, extra_data = prompt[2:4] if isinstance(prompt, list) and len(prompt) > 3 else ({}, {})  # noqa: PLR2004
    return _mapping(graph), _mapping(extra_data)


def _in_order(entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    # The graph keeps the order in which we sent the nodes.
    outputs, (graph, _) = _mapping(entry.get("outputs")), sent_with(entry)
    order = {node_id: position for position, node_id in enumerate(graph)}
    in_order = sorted(outputs, key=lambda node_id: order.get(node_id, len(order)))
    return [(node_id, _mapping(outputs[node_id])) for node_id in in_order]


def _cached(status: Mapping[str, Any]) -> frozenset[str]:
    for name, data in _messages(status):
        if name == "execution_cached":
            nodes = data.get("nodes")
            return frozenset(map(str, nodes)) if isinstance(nodes, list) else frozenset()
    return frozenset()


def _messages(status: Mapping[str, Any]) -> list[tuple[Any, Mapping[str, Any]]]:
    """What happened to the prompt, in order: names with data; without what ComfyUI would not write there."""
    messages = status.get("messages")
    pairs = messages if isinstance(messages, list) else []
    return [(each[0], _mapping(each[1])) for each in pairs if isinstance(each, list) and len(each) > 1]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _outputs(nodes: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterable[Output]:
    for node_id, output in nodes:
        for files in output.values():
            for file in files if isinstance(files, list) else ():
                if isinstance(file, Mapping) and file.get("filename"):
                    link = str(file.get(LINK, ""))
                    yield Output(
                        node_id,
                        str(file["filename"]),
                        str(file.get("subfolder", "")),
                        str(file.get("type", "output")),
                        link if _WEB.fullmatch(link) else "",
                    )


def _texts(nodes: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterable[str]:
    """What PreviewAny (comfy_extras/nodes_preview_any.py) and the packs' nodes for texts show: ``{"text": [...]}``."""
    for _, output in nodes:
        text = output.get("text")
        yield from (one for one in (text if isinstance(text, list) else [text]) if isinstance(one, str))


def saved(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Leave previews (``temp``) out, unless nothing else was saved."""
    everything = tuple(outputs)
    return tuple(output for output in everything if output.type != "temp") or everything

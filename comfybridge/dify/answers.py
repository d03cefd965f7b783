"""What ``server_info`` tells: short lines for people and models, and the same as values."""

from collections.abc import Iterator, Sequence
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from comfybridge import overview
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.dify.delivery import LONGEST_ANSWER, machine_data
from comfybridge.errors import Unavailable
from comfybridge.parameters import Question
from comfybridge.pool import Pool

_LONGEST_TEXT = LONGEST_ANSWER // 2
_MOST_NAMES = 50
_MOST_LACKING = 2


def server_info(tool: Tool, question: Question, pool: Pool, deadline: Deadline) -> Iterator[ToolInvokeMessage]:
    """Ask the servers, and answer within the length of all answers.

    Raises:
        Unavailable: no server answers.
    """
    lines: list[str] = []
    found: dict[str, None] = {}
    silent: Unavailable | None = None
    for number, client in enumerate(pool.clients, start=1):
        # Agents repeat what they read: a server is known by its number, never by its address.
        label = f"Server {number}: " if len(pool.clients) > 1 else ""
        try:
            told, names = _told(question, client, deadline)
        except Unavailable as exc:
            silent = exc
            lines.append(f"{label}does not answer.")
            continue
        lines += [f"{label}{line}" for line in told]
        found |= dict.fromkeys(names)
    if silent is not None and len(lines) == len(pool.clients) and all(line.endswith("answer.") for line in lines):
        raise silent
    names = [name for name in found if question.search.casefold() in name.casefold()]
    if question.show not in ("summary", "templates"):
        lines.append(f"{len(names)} {question.show}: {', '.join(names) or 'none'}")
    text = "\n".join(lines)
    if len(text.encode()) > _LONGEST_TEXT:
        text = text.encode()[:_LONGEST_TEXT].decode(errors="ignore") + "… (ask with search for fewer)"
    yield tool.create_text_message(text)
    known: dict[str, Any] = {"show": question.show, "count": len(names)}
    yield from machine_data(tool, known)
    yield tool.create_variable_message("names", names[:_MOST_NAMES])


def _told(question: Question, client: Client, deadline: Deadline) -> tuple[list[str], Sequence[str]]:
    """Lines about one server, and the names it has of what is asked for."""
    if question.show == "summary":
        return _summary(client, deadline)
    if question.show == "templates":
        able, lacking = overview.templates(client, deadline)
        lines = [f"can run: {', '.join(template.name for template in able) or 'no template'}."]
        lines += [
            f"{each.template.name} lacks {', '.join(each.lacks[:_MOST_LACKING])}"
            + (f" and {len(each.lacks) - _MOST_LACKING} more" if len(each.lacks) > _MOST_LACKING else "")
            for each in lacking
            if question.search.casefold() in each.template.name.casefold()
        ]
        return lines, [template.name for template in able]
    return [], overview.names(question.show, client, deadline)


def _summary(client: Client, deadline: Deadline) -> tuple[list[str], Sequence[str]]:
    server = overview.summary(client, deadline)
    able, lacking = overview.templates(client, deadline)
    devices = [f"{name}, {free:.1f} of {total:.1f} GiB free" for name, free, total in server.memory]
    names = [template.name for template in able]
    lines = [
        f"ComfyUI {server.version}; {'; '.join(devices) or 'no device'}; {server.waiting} in the queue.",
        f"{len(able)} of {len(able) + len(lacking)} templates can run: {', '.join(names) or 'none'}.",
        f"{len(client.workflows(deadline))} saved workflows.",
    ]
    return lines, names

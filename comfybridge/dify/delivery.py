"""What a call gives back to Dify: files, one short text, and the machine's data."""

import ipaddress
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from comfybridge.collecting import Outcome
from comfybridge.fallback import Drawn, Picture
from comfybridge.jobs import Job, OutputFile
from comfybridge.media import image_size
from comfybridge.messages import Progress
from comfybridge.watch import Waiting

logger = logging.getLogger("comfybridge")

LONGEST_ANSWER = 1450
"""Bytes of text, JSON and variables together, somewhat below the 1.5 kB promised: an agent's model reads them all."""

_PIECE = 8192
"""What Dify's API takes at most."""
_LEAST_PROGRESS = 0.1
_PROGRESS_EVERY_S = 2.0
_LONGEST_PROGRESS = 200
_LONGEST_LINE = 250
_LONGEST_TEXTS = 600
_KINDS = {"image": "picture", "video": "video", "audio": "sound", "model": "3D model"}


class Delivery:
    """Hands each file to Dify as it comes, so that one at a time is in memory."""

    def __init__(self, tool: Tool, output: str, image_base_url: str | None) -> None:
        self._tool = tool
        self._output = output
        self._image_base_url = image_base_url
        self._kinds: Counter[str] = Counter()
        self._size: tuple[int, int] | None = None
        self.links: list[str] = []
        self.urls: list[str] = []
        self.notes: dict[tuple[str, str], None] = {}

    def hand_over(self, file: OutputFile | Picture, room: int) -> Iterator[ToolInvokeMessage]:
        """Yield the file as a blob, or keep its link for the text; as a blob too where there is no link.

        ``room`` is how many bytes the whole answer may have.
        """
        self._kinds[_KINDS.get(file.mime.partition("/")[0], "file")] += 1
        # What the graph says may be the size of a first pass only.
        self._size = self._size or image_size(file.data)
        for english, chinese in file.notes if isinstance(file, OutputFile) else ():
            self._note(english, chinese)
        url = self._url(file) if self._output != "image" else None
        if url is not None:
            # What is no picture is a link that can be opened.
            link = f"{'!' if file.mime.startswith('image/') else ''}[{file.filename}]({url})"
            known = facts((file.job,), "succeeded") if isinstance(file, OutputFile) else {}
            used = _size(known) + _LONGEST_LINE + sum(len(kept) + 1 for kept in self.links)
            if used + len(link.encode()) <= room:
                self.urls.append(url)
                self.links.append(link)
            else:
                self._note("The links of all files would be too long: the others are attached.", "其余文件以附件返回")
                url = None
        if url is None or self._output == "both":
            yield from _blob(file)

    def summary(self, outcome: Outcome, room: int) -> Iterator[ToolInvokeMessage]:
        """The end of a call that succeeded: what was made, in one line, the links, what nodes said, the facts."""
        told = dict.fromkeys(note for job in outcome.jobs for note in job.filled.notes)
        known = facts(outcome.jobs, "succeeded") | {"seconds": round(outcome.seconds, 2), "made_by": "comfyui"}
        yield from self._told(known, told, outcome.texts, prompts(outcome.jobs), room)

    def drawn(self, drawn: Drawn, room: int) -> Iterator[ToolInvokeMessage]:
        """The end of a call whose pictures another service made."""
        known = {"status": "succeeded", "seconds": round(drawn.seconds, 2), "made_by": drawn.model}
        told = (
            f"ComfyUI could not be reached: {drawn.model} drew this instead",
            f"无法连接 ComfyUI，已改由 {drawn.model} 生成",
        )
        yield from self._told(known, [told], (), {"prompt": drawn.prompt}, room)

    def _told(
        self,
        known: dict[str, Any],
        told: Iterable[tuple[str, str]],
        texts: Sequence[str],
        asked: Mapping[str, str],
        room: int,
    ) -> Iterator[ToolInvokeMessage]:
        if self._size is not None:
            known |= zip(("width", "height"), self._size, strict=True)
        line = self._line(known)
        room -= answer_size(known, line) + sum(len(link.encode()) + 1 for link in self.links)
        line, room = noted(line, (*self.notes, *told), room)
        said = "\n".join(texts)
        said_shortly = said.encode()[: max(0, min(room, _LONGEST_TEXTS))].decode(errors="ignore")
        yield self._tool.create_text_message("\n".join(filter(None, (line, *self.links, said_shortly))))
        room -= len(said_shortly.encode())
        urls = self.urls if len(json.dumps(self.urls)) + len("image_urls") <= room else []
        room -= len(json.dumps(urls))
        yield from machine_data(self._tool, known, asked, room)
        if urls:
            yield self._tool.create_variable_message("image_urls", urls)
        if said:
            yield self._tool.create_variable_message("texts", list(texts))

    def _line(self, known: Mapping[str, Any]) -> str:
        made = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in self._kinds.items()) or "Done"
        size = f", {known['width']}×{known['height']}" if "width" in known and "height" in known else ""
        seed = f", seed {known['seed']}" if "seed" in known else ""
        by = known.get("template") or known.get("workflow") or known["made_by"]
        return f"{made}{size}{seed}, {by}, {known['seconds']:.1f} s."

    def _url(self, file: OutputFile | Picture) -> str | None:
        if isinstance(file, OutputFile):
            # A gateway's own link needs no key; one that no browser reaches is of no use.
            query = urlsplit(file.link).query or file.view
            if self._image_base_url is not None and query is not None:
                return f"{self._image_base_url}/view?{query}"
            if file.link and not _is_internal(file.link):
                return file.link
        try:
            stored = self._tool.session.file.upload(
                filename=file.filename, content=file.data, mimetype=file.mime
            ).preview_url
        except Exception as exc:  # noqa: BLE001  # the SDK raises bare Exception, with the host's answer in it
            logger.warning("Dify refused to store %s: %s", file.filename, type(exc).__name__)
            self._note("Dify refused to store the file: it is attached instead.", "Dify 未能保存文件，已改为附件")
            return None
        if not stored or _is_internal(stored):
            self._note(
                "Dify gave no address that browsers reach (set FILES_URL): the file is attached instead.",
                "Dify 返回的地址浏览器无法访问（请设置 FILES_URL），已改为附件",
            )
            return None
        return stored

    def _note(self, english: str, chinese: str) -> None:
        self.notes[english, chinese] = None


def _blob(file: OutputFile | Picture) -> Iterator[ToolInvokeMessage]:
    """The file in pieces, as the SDK itself sends it on; the SDK would hold it, whole and in pieces, until the next."""
    blob_id, meta = uuid4().hex, {"mime_type": file.mime, "filename": file.filename}
    pieces = range(0, len(file.data), _PIECE)
    for sequence, begin in enumerate((*pieces, len(file.data))):
        message = ToolInvokeMessage.BlobChunkMessage(
            id=blob_id,
            sequence=sequence,
            total_length=len(file.data),
            blob=file.data[begin : begin + _PIECE],
            end=sequence == len(pieces),
        )
        yield ToolInvokeMessage(type=ToolInvokeMessage.MessageType.BLOB_CHUNK, message=message, meta=meta)


class ProgressText:
    """Events as short lines for the streamed variable: the queue, then every tenth, or what two seconds brought."""

    def __init__(self) -> None:
        self._done = 0.0
        self._said_at = 0.0
        self.written = 0

    def of(self, event: Waiting | Progress) -> str | None:
        """The next piece of text; ``None`` when it is too soon, or the variable is long enough."""
        now = time.monotonic()
        if isinstance(event, Waiting):
            text = f"queue {event.ahead}\n" if event.ahead else None
        else:
            done = event.value / event.maximum if event.maximum > 0 else 0.0
            grown = done - self._done
            is_due = grown >= _LEAST_PROGRESS or (grown > 0 and (done >= 1 or now - self._said_at >= _PROGRESS_EVERY_S))
            text = f"{done:.0%}\n" if is_due else None
            self._done = done if is_due else self._done
        if text is None or self.written + len(text) > _LONGEST_PROGRESS:
            return None
        self._said_at = now
        self.written += len(text)
        return text


def facts(jobs: Sequence[Job], status: str) -> dict[str, Any]:
    """The machine's half of the answer; the first job's values, where a count took several prompts."""
    filled = jobs[0].filled
    known = {
        "prompt_id": ",".join(job.prompt_id for job in jobs),
        "status": status,
        "seed": filled.seed,
        "width": filled.width,
        "height": filled.height,
        "workflow" if filled.template.is_users else "template": filled.template.name,
        "model": filled.model,
    }
    return {name: value for name, value in known.items() if value is not None}


def prompts(jobs: Sequence[Job]) -> dict[str, str]:
    """The words that were drawn; a job of an earlier call has them from its graph."""
    filled = jobs[0].filled
    return {name: text for name, text in (("prompt", filled.positive), ("negative_prompt", filled.negative)) if text}


def machine_data(
    tool: Tool, known: Mapping[str, Any], asked: Mapping[str, str] | None = None, room: int = 0
) -> Iterator[ToolInvokeMessage]:
    """JSON, and the same as variables; ``asked``, the prompts, are in the JSON too where there is ``room`` for them."""
    asked = {name: text for name, text in (asked or {}).items() if text}
    yield tool.create_json_message({**known, **(asked if _size(asked) <= room else {})})
    for name, value in (*known.items(), *asked.items()):
        yield tool.create_variable_message(name, value)


def noted(line: str, notes: Iterable[tuple[str, str]], room: int) -> tuple[str, int]:
    """The line with those of the notes that there is room for, and the room that is left."""
    for english, chinese in notes:
        note = f" {english.rstrip('.')} / {chinese.rstrip('。')}."
        if len(note.encode()) <= room:
            line += note
            room -= len(note.encode())
    return line, room


def answer_size(known: Mapping[str, Any], line: str) -> int:
    return _size(known) + len(line.encode())


def _size(known: Mapping[str, Any]) -> int:
    """Bytes of the facts as one JSON and again as variables."""
    return 2 * len(json.dumps(known, ensure_ascii=False).encode())


def _is_internal(url: str) -> bool:
    """Whether browsers cannot reach the address: the machine itself, a name inside Docker or a cluster, no address.

    A relative address is fine (Dify's page resolves it), and so is one in a private network, where many Difys live.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return True
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".internal", ".local", ".localhost", ".svc"))
    return address.is_loopback or address.is_unspecified or address.is_link_local

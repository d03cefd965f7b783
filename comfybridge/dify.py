"""Dify's front: a tool call becomes a generation, its events and pictures become Dify's messages."""

import contextlib
import functools
import ipaddress
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dify_plugin import Tool
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.entities.tool import ToolInvokeMessage
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from comfybridge import advice, credentials, generation, parameters
from comfybridge.choosing import Named
from comfybridge.client import Client, view_query
from comfybridge.credentials import Credentials
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError
from comfybridge.generation import Outcome
from comfybridge.jobs import Job, OutputFile
from comfybridge.messages import Progress
from comfybridge.parameters import Text2Image
from comfybridge.pool import Pool
from comfybridge.watch import Waiting

logger = logging.getLogger("comfybridge")
logger.setLevel(logging.INFO)
logger.addHandler(plugin_logger_handler)

LONGEST_ANSWER = 1450
"""Bytes of text, JSON and variables together, somewhat below the 1.5 kB promised: an agent's model reads them all."""

_OLDEST_COMFYUI = (0, 3, 45)
_VALIDATION_S = 20.0
_LEAST_PROGRESS = 0.1
_PROGRESS_EVERY_S = 2.0
_LONGEST_PROGRESS = 200
_LONGEST_LINE = 250
_POOLS = 32


def validate(values: Mapping[str, Any]) -> None:
    """Check what an operator entered: well-formed, reachable, a ComfyUI that is new enough, and it lets us in.

    Raises:
        ToolProviderCredentialValidationError: with what to do, in English and Chinese; Dify shows it in the form.
    """
    try:
        read = credentials.read(values)
        for base_url in read.base_urls:
            # A new client, so that an answer of a moment ago, under other credentials, decides nothing.
            with contextlib.closing(Client(base_url, dict(read.headers))) as client:
                version = str(client.system_stats(Deadline(_VALIDATION_S))["system"]["comfyui_version"])
            # A fork may name its version in a way of its own; then its answer to POST /prompt tells.
            if (numbers := _numbers(version)) and numbers < _OLDEST_COMFYUI:
                raise advice.too_old(base_url, version)
    except ComfyError as exc:
        raise ToolProviderCredentialValidationError(f"{exc}\n{exc.zh}") from exc


def text2image(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``text2image`` to its end, or until it is queued where the caller does not wait.

    Raises:
        ComfyError: every end but success; ``str()`` is ``outcome=… prompt_id=…``, then a sentence in either language.
    """
    with _reported():
        read = credentials.read(tool.runtime.credentials)
        serverless = os.environ.get("INSTALL_METHOD", "").lower() == "serverless"
        call = parameters.text2image(values, max_prompt_length=read.max_prompt_length, serverless=serverless)
        if call.wait:
            yield from _pictures(tool, call, read)
        else:
            yield from _queued(tool, call, read)


def _queued(tool: Tool, call: Text2Image, read: Credentials) -> Iterator[ToolInvokeMessage]:
    jobs = generation.submit(
        Named(call.template), call.inputs, _pool(read), deadline=Deadline(call.timeout_s), extra_data=_extra_data(read)
    )
    facts = _facts(jobs, "queued")
    yield tool.create_text_message(f"Queued in ComfyUI as {facts['prompt_id']}, seed {facts['seed']}.")
    yield from _machine_data(tool, facts)


def _pictures(tool: Tool, call: Text2Image, read: Credentials) -> Iterator[ToolInvokeMessage]:
    progress = _ProgressText()
    delivery = _Delivery(tool, call.output, read.image_base_url)
    steps = generation.generate(
        Named(call.template), call.inputs, _pool(read), timeout_s=call.timeout_s, extra_data=_extra_data(read)
    )
    for step in steps:
        match step:
            case OutputFile():
                yield from delivery.hand_over(step, LONGEST_ANSWER - progress.written)
            case Outcome():
                yield from _summary(tool, step, delivery, LONGEST_ANSWER - progress.written)
            case Waiting() | Progress():
                if call.progress and (text := progress.of(step)):
                    yield tool.create_stream_variable_message("progress", text)


def _summary(tool: Tool, outcome: Outcome, delivery: "_Delivery", room: int) -> Iterator[ToolInvokeMessage]:
    facts = _facts(outcome.jobs, "succeeded") | {"seconds": round(outcome.seconds, 2)}
    notes = dict.fromkeys(f"{english} / {chinese}." for job in outcome.jobs for english, chinese in job.filled.notes)
    line = _line(facts, delivery.count)
    room -= _size(facts) + len(line.encode()) + sum(len(link.encode()) + 1 for link in delivery.links)
    for note in (*delivery.notes, *notes):
        if len(note.encode()) < room:
            line += f" {note}"
            room -= len(note.encode()) + 1
    yield tool.create_text_message("\n".join((line, *delivery.links)))
    yield from _machine_data(tool, facts)
    if delivery.links and len(json.dumps(delivery.urls)) + len("image_urls") <= room:
        yield tool.create_variable_message("image_urls", delivery.urls)


def _machine_data(tool: Tool, facts: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield tool.create_json_message(facts)
    for name, value in facts.items():
        yield tool.create_variable_message(name, value)


class _Delivery:
    """Hands each picture to Dify as it comes, so that one at a time is in memory."""

    def __init__(self, tool: Tool, output: str, image_base_url: str | None) -> None:
        self._tool = tool
        self._output = output
        self._image_base_url = image_base_url
        self.count = 0
        self.links: list[str] = []
        self.urls: list[str] = []
        self.notes: dict[str, None] = {}

    def hand_over(self, file: OutputFile, room: int) -> Iterator[ToolInvokeMessage]:
        """Yield the picture as a blob, or keep its link for the text; as a blob too where there is no link.

        ``room`` is how many bytes the whole answer may have.
        """
        self.count += 1
        url = self._url(file) if self._output != "image" else None
        if url is not None:
            link = f"![{file.filename}]({url})"
            used = _size(_facts((file.job,), "succeeded")) + _LONGEST_LINE + sum(len(kept) + 1 for kept in self.links)
            if used + len(link.encode()) <= room:
                self.urls.append(url)
                self.links.append(link)
            else:
                self._note(
                    "The links of all pictures would be too long: the others are attached.", "其余图片以附件返回"
                )
                url = None
        if url is None or self._output == "both":
            yield self._tool.create_blob_message(file.data, meta={"mime_type": file.mime, "filename": file.filename})

    def _url(self, file: OutputFile) -> str | None:
        if self._image_base_url is not None:
            return f"{self._image_base_url}/view?{view_query(file.output)}"
        try:
            stored = self._tool.session.file.upload(
                filename=file.filename, content=file.data, mimetype=file.mime
            ).preview_url
        except Exception as exc:  # noqa: BLE001  # the SDK raises bare Exception, with the host's answer in it
            logger.warning("Dify refused to store %s: %s", file.filename, type(exc).__name__)
            self._note("Dify refused to store the picture: it is attached instead.", "Dify 未能保存图片，已改为附件")
            return None
        if not stored or _is_internal(stored):
            self._note(
                "Dify gave no address that browsers reach (set FILES_URL): the picture is attached instead.",
                "Dify 返回的地址浏览器无法访问（请设置 FILES_URL），已改为附件",
            )
            return None
        return stored

    def _note(self, english: str, chinese: str) -> None:
        self.notes[f"{english} / {chinese}."] = None


class _ProgressText:
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


def _facts(jobs: Sequence[Job], status: str) -> dict[str, Any]:
    """The machine's half of the answer; the first job's values, where a count took several prompts."""
    filled = jobs[0].filled
    facts = {
        "prompt_id": ",".join(job.prompt_id for job in jobs),
        "status": status,
        "seed": filled.seed,
        "width": filled.width,
        "height": filled.height,
        "template": filled.template.name,
        "model": filled.model,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _line(facts: Mapping[str, Any], count: int) -> str:
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    size = f", {facts['width']}×{facts['height']}" if "width" in facts and "height" in facts else ""
    return f"{pictures}{size}, seed {facts['seed']}, {facts['template']}, {facts['seconds']:.1f} s."


def _size(facts: Mapping[str, Any]) -> int:
    """Bytes of the facts as one JSON and again as variables."""
    return 2 * len(json.dumps(facts, ensure_ascii=False).encode())


@functools.lru_cache(maxsize=_POOLS)
def _pool_of(base_urls: tuple[str, ...], headers: tuple[tuple[str, str], ...]) -> Pool:
    return Pool([Client(base_url, dict(headers)) for base_url in base_urls])


def _pool(read: Credentials) -> Pool:
    """One pool for all calls with the same servers and headers, so that connections and definitions are kept."""
    return _pool_of(read.base_urls, read.headers)


def _extra_data(read: Credentials) -> dict[str, Any]:
    # Beside the graph, where ComfyUI's API nodes look for it; it keeps the key out of the history (server.py).
    return {generation.COMFY_ORG_KEY: read.comfy_org_api_key} if read.comfy_org_api_key else {}


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


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Give every error the first line that a fail branch reads, and the sentence in both languages."""
    try:
        yield
    except ComfyError as exc:
        exc.args = (f"outcome={exc.outcome} prompt_id={exc.prompt_id or '-'}\n{exc}\n{exc.zh}",)
        raise

"""The calls that Dify makes: each runs to its end, or until it is queued where the caller does not wait."""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dify_plugin import Tool
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.entities.tool import ToolInvokeMessage
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from comfybridge import advice, credentials, generation, parameters
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.credentials import Credentials
from comfybridge.deadline import Deadline
from comfybridge.dify import intake
from comfybridge.dify.delivery import LONGEST_ANSWER, Delivery, ProgressText, facts, machine_data
from comfybridge.errors import ComfyError
from comfybridge.jobs import OutputFile
from comfybridge.messages import Progress
from comfybridge.parameters import Call, Limits
from comfybridge.pool import Pool
from comfybridge.watch import Waiting

logger = logging.getLogger("comfybridge")
logger.setLevel(logging.INFO)
logger.addHandler(plugin_logger_handler)

_OLDEST_COMFYUI = (0, 3, 45)
_VALIDATION_S = 20.0
_POOLS = 32


def validate(values: Mapping[str, Any]) -> None:
    """Check what an operator entered: well-formed, reachable, a ComfyUI that is new enough, and it lets us in.

    Raises:
        ToolProviderCredentialValidationError: with what to do, in English and Chinese; Dify shows it in the form.
    """
    try:
        read = credentials.read(values)
        for base_url, headers in read.servers:
            # A new client, so that an answer of a moment ago, under other credentials, decides nothing.
            with contextlib.closing(Client(base_url, dict(headers))) as client:
                version = str(client.system_stats(Deadline(_VALIDATION_S))["system"]["comfyui_version"])
            # A fork may name its version in a way of its own; then its answer to POST /prompt tells.
            if (numbers := _numbers(version)) and numbers < _OLDEST_COMFYUI:
                raise advice.too_old(base_url, version)
    except ComfyError as exc:
        raise ToolProviderCredentialValidationError(f"{exc}\n{exc.zh}") from exc


def text2image(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``text2image``.

    Raises:
        ComfyError: every end but success; ``str()`` is ``outcome=… prompt_id=…``, then a sentence in either language.
    """
    yield from _call(tool, lambda limits: parameters.text2image(values, limits))


def run_workflow(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``run_workflow``.

    Raises:
        ComfyError: as ``text2image``.
    """
    yield from _call(tool, lambda limits: parameters.run_workflow(values, limits, attached=intake.attached(values)))


def _call(tool: Tool, read_call: Callable[[Limits], Call]) -> Iterator[ToolInvokeMessage]:
    with _reported():
        read = credentials.read(tool.runtime.credentials)
        serverless = os.environ.get("INSTALL_METHOD", "").lower() == "serverless"
        call = read_call(Limits(max_prompt_length=read.max_prompt_length, serverless=serverless))
        deadline = Deadline(call.timeout_s)
        pool = _pool(read)
        call = call.with_files(intake.files(call, pool, deadline))
        if call.wait:
            yield from _made(tool, call, read, pool, deadline)
        else:
            jobs = generation.submit(call.source, call.inputs, pool, deadline=deadline, extra_data=_extra_data(read))
            known = facts(jobs, "queued")
            seed = f", seed {known['seed']}" if "seed" in known else ""
            yield tool.create_text_message(f"Queued in ComfyUI as {known['prompt_id']}{seed}.")
            yield from machine_data(tool, known)


def _made(tool: Tool, call: Call, read: Credentials, pool: Pool, deadline: Deadline) -> Iterator[ToolInvokeMessage]:
    progress = ProgressText()
    delivery = Delivery(tool, call.output, read.image_base_url)
    steps = generation.generate(call.source, call.inputs, pool, deadline=deadline, extra_data=_extra_data(read))
    for step in steps:
        match step:
            case OutputFile():
                yield from delivery.hand_over(step, LONGEST_ANSWER - progress.written)
            case Outcome():
                yield from delivery.summary(step, LONGEST_ANSWER - progress.written)
            case Waiting() | Progress():
                if call.progress and (text := progress.of(step)):
                    yield tool.create_stream_variable_message("progress", text)


@functools.lru_cache(maxsize=_POOLS)
def _pool_of(servers: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]) -> Pool:
    return Pool([Client(base_url, dict(headers)) for base_url, headers in servers])


def _pool(read: Credentials) -> Pool:
    """One pool for all calls with the same servers and headers, so that connections and definitions are kept."""
    return _pool_of(read.servers)


def _extra_data(read: Credentials) -> dict[str, Any]:
    # Beside the graph, where ComfyUI's API nodes look for it; it keeps the key out of the history (server.py).
    return {generation.COMFY_ORG_KEY: read.comfy_org_api_key} if read.comfy_org_api_key else {}


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

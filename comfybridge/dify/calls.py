"""The calls that Dify makes: each runs to its end, or until it is queued where the caller does not wait."""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dify_plugin import Tool
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.entities.tool import ToolInvokeMessage
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from comfybridge import advice, collecting, credentials, generation, idempotency, parameters
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.credentials import Credentials
from comfybridge.deadline import Deadline
from comfybridge.dify import intake
from comfybridge.dify.delivery import LONGEST_ANSWER, Delivery, ProgressText, facts, machine_data
from comfybridge.errors import ComfyError, TimedOut
from comfybridge.idempotency import Key
from comfybridge.jobs import Job, OutputFile
from comfybridge.messages import Interrupted, NodeFailed, Progress
from comfybridge.parameters import Call, Limits
from comfybridge.pool import Pool
from comfybridge.watch import Event, Waiting

logger = logging.getLogger("comfybridge")
logger.setLevel(logging.INFO)
logger.addHandler(plugin_logger_handler)

_OLDEST_COMFYUI = (0, 3, 45)
_VALIDATION_S = 20.0
_STANDING_S = 10.0
_POOLS = 32
_STANDING_ZH = {
    "queued": "任务仍在排队，请稍后再次调用 get_result。",
    "running": "任务仍在运行，请稍后再次调用 get_result。",
}


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


def get_result(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``get_result``: the files of an earlier job, or how it stands when the time is over.

    Raises:
        ComfyError: the job ended in another way than success, or no server knows it.
    """
    with _reported():
        read = credentials.read(tool.runtime.credentials)
        call = parameters.earlier(values, _limits(read))
        pool = _pool(read)
        deadline = Deadline(call.timeout_s)
        steps = collecting.collect(call.prompt_ids, pool, deadline=deadline)
        try:
            yield from _handed_over(tool, steps, call.output, read, progress=call.progress)
        except TimedOut as exc:
            standing = collecting.standing(call.prompt_ids, pool, Deadline(_STANDING_S))
            if standing is None:
                raise
            known = {"prompt_id": ",".join(call.prompt_ids), "status": standing}
            logger.info("prompt %s is %s: %s", known["prompt_id"], standing, type(exc).__name__)
            yield tool.create_text_message(
                f"The job is still {standing}: call get_result again later. / {_STANDING_ZH[standing]}"
            )
            yield from machine_data(tool, known)


def cancel_job(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``cancel_job``.

    Raises:
        ComfyError: no server knows the job, or the one that does cannot be reached.
    """
    with _reported():
        read = credentials.read(tool.runtime.credentials)
        call = parameters.earlier(values, _limits(read))
        stopped = collecting.cancel(call.prompt_ids, _pool(read), deadline=Deadline(call.timeout_s))
        known = {"prompt_id": ",".join(call.prompt_ids), "status": _status(stopped)}
        said = {
            "cancelled": "Cancelled in ComfyUI. / 已在 ComfyUI 中取消。",
            "succeeded": "Nothing to cancel: the job has finished. / 任务已完成，无需取消。",
        }.get(known["status"], "Nothing to cancel: the job has ended. / 任务已结束，无需取消。")
        yield tool.create_text_message(said)
        yield from machine_data(tool, known)


def _status(stopped: Sequence[tuple[Job, bool]]) -> str:
    """``cancelled`` when one of the jobs was stopped, else how they had ended."""
    if any(was_stopped for _, was_stopped in stopped):
        return "cancelled"
    verdicts = [job.verdict for job, _ in stopped]
    if any(isinstance(verdict, NodeFailed) for verdict in verdicts):
        return "failed"
    return "cancelled" if any(isinstance(verdict, Interrupted) for verdict in verdicts) else "succeeded"


def _limits(read: Credentials) -> Limits:
    serverless = os.environ.get("INSTALL_METHOD", "").lower() == "serverless"
    return Limits(max_prompt_length=read.max_prompt_length, serverless=serverless)


def _call(tool: Tool, read_call: Callable[[Limits], Call]) -> Iterator[ToolInvokeMessage]:
    with _reported():
        read = credentials.read(tool.runtime.credentials)
        call = read_call(_limits(read))
        deadline = Deadline(call.timeout_s)
        pool = _pool(read)
        call = call.with_files(intake.files(call, pool, deadline))
        key = _key(tool, call)
        if call.wait:
            steps = generation.generate(
                call.source,
                call.inputs,
                pool,
                deadline=deadline,
                extra_data=_extra_data(read),
                key=key,
                keeps_on=call.keeps_on,
            )
            yield from _handed_over(tool, steps, call.output, read, progress=call.progress)
        else:
            jobs = generation.submit(
                call.source, call.inputs, pool, deadline=deadline, extra_data=_extra_data(read), key=key
            )
            known = facts(jobs, "queued")
            seed = f", seed {known['seed']}" if "seed" in known else ""
            yield tool.create_text_message(f"Queued in ComfyUI as {known['prompt_id']}{seed}.")
            yield from machine_data(tool, known)


def _key(tool: Tool, call: Call) -> Key | None:
    if not call.idempotency_key:
        return None
    return idempotency.key(tool.session.app_id, tool.runtime.user_id, call.idempotency_key, call.source, call.inputs)


def _handed_over(
    tool: Tool, steps: Iterator[Event | OutputFile | Outcome], output: str, read: Credentials, *, progress: bool
) -> Iterator[ToolInvokeMessage]:
    """Dify's messages for what a job yields."""
    said = ProgressText()
    delivery = Delivery(tool, output, read.image_base_url)
    for step in steps:
        match step:
            case OutputFile():
                yield from delivery.hand_over(step, LONGEST_ANSWER - said.written)
            case Outcome():
                yield from delivery.summary(step, LONGEST_ANSWER - said.written)
            case Waiting() | Progress():
                if progress and (text := said.of(step)):
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

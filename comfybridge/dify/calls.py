"""The calls that Dify makes: each runs to its end, or until it is queued where the caller does not wait."""

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dify_plugin import Tool
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.entities.tool import ToolInvokeMessage
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from comfybridge import advice, collecting, credentials, fallback, generation, idempotency, parameters
from comfybridge.allowance import Allowance
from comfybridge.client import Client
from comfybridge.collecting import Outcome
from comfybridge.credentials import Credentials, Server
from comfybridge.deadline import Deadline
from comfybridge.dify import answers, discretion, intake, moderating
from comfybridge.dify.delivery import (
    LONGEST_ANSWER,
    Delivery,
    ProgressText,
    answer_size,
    facts,
    machine_data,
    noted,
    prompts,
)
from comfybridge.dify.enhancing import Rewriter
from comfybridge.errors import ComfyError, Lost, TimedOut, Unavailable
from comfybridge.fallback import Drawn, Picture
from comfybridge.idempotency import Key
from comfybridge.jobs import OutputFile
from comfybridge.messages import ASK_FOR_LINKS, Progress
from comfybridge.parameters import Call, Limits
from comfybridge.pool import Pool
from comfybridge.watch import Event, Waiting

logger = logging.getLogger("comfybridge")
logger.setLevel(logging.INFO)
logger.addHandler(plugin_logger_handler)

_VALIDATION_S = 20.0
_STANDING_S = 10.0
_INFO_S = 30.0
_POOLS = 32
_USER_DIGITS = 16
_ALLOWANCE = Allowance()
_TRY_LATER = "The image service is busy or cannot be reached right now. Please try again in a few minutes."
_TRY_LATER_ZH = "图片服务繁忙或暂时无法访问，请几分钟后再试。"
_NOT_LET_IN = "The image service does not let this app in. Whoever set up the app has to check its key or login."
_NOT_LET_IN_ZH = "图片服务拒绝此应用访问，请联系应用的搭建者检查密钥或登录信息。"
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
        for server in read.servers:
            # A new client, so that an answer of a moment ago, under other credentials, decides nothing.
            with contextlib.closing(_client(server)) as client:
                version = str(client.system_stats(Deadline(_VALIDATION_S))["system"]["comfyui_version"])
            # A fork may name its version in a way of its own; then its answer to POST /prompt tells.
            if advice.is_too_old(version):
                raise advice.too_old(server.base_url, version)
    except ComfyError as exc:
        raise ToolProviderCredentialValidationError(f"{exc}\n{exc.zh}") from exc


def text2image(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``text2image``.

    Raises:
        ComfyError: every end but success; ``str()`` is ``outcome=… prompt_id=…``, then a sentence in either language.
    """
    yield from _call(tool, lambda limits: parameters.text2image(values, limits), has_fallback=True)


def image2image(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of the tool of this name; raises as ``text2image``, as all of these."""
    yield from _call(tool, lambda limits: parameters.image2image(values, limits))


def inpaint(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield from _call(tool, lambda limits: parameters.inpaint(values, limits))


def upscale(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield from _call(tool, lambda limits: parameters.upscale(values, limits))


def text2video(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield from _call(tool, lambda limits: parameters.text2video(values, limits))


def image2video(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield from _call(tool, lambda limits: parameters.image2video(values, limits))


def text2audio(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    yield from _call(tool, lambda limits: parameters.text2audio(values, limits))


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
    with _reported(tool):
        read = credentials.read(tool.runtime.credentials)
        call = parameters.earlier(values, _limits(read))
        pool = _pool(read)
        deadline = Deadline(call.timeout_s)
        steps = collecting.collect(call.prompt_ids, pool, deadline=deadline, form=call.form)
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


def server_info(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``server_info``.

    Raises:
        ComfyError: no server answers.
    """
    with _reported(tool):
        read = credentials.read(tool.runtime.credentials)
        question = parameters.server_info(values)
        yield from answers.server_info(tool, question, _pool(read), Deadline(_INFO_S))


def cancel_job(tool: Tool, values: Mapping[str, Any]) -> Iterator[ToolInvokeMessage]:
    """Run one call of ``cancel_job``.

    Raises:
        ComfyError: no server knows the job, or the one that does cannot be reached.
    """
    with _reported(tool):
        read = credentials.read(tool.runtime.credentials)
        call = parameters.earlier(values, _limits(read))
        stopped = collecting.cancel(call.prompt_ids, _pool(read), deadline=Deadline(call.timeout_s))
        known = {"prompt_id": ",".join(call.prompt_ids), "status": collecting.ended(stopped)}
        said = {
            "cancelled": "Cancelled in ComfyUI. / 已在 ComfyUI 中取消。",
            "succeeded": "Nothing to cancel: the job has finished. / 任务已完成，无需取消。",
        }.get(known["status"], "Nothing to cancel: the job has ended. / 任务已结束，无需取消。")
        yield tool.create_text_message(said)
        yield from machine_data(tool, known)


def _limits(read: Credentials) -> Limits:
    serverless = os.environ.get("INSTALL_METHOD", "").lower() == "serverless"
    return Limits(max_prompt_length=read.max_prompt_length, serverless=serverless, blocked_words=read.blocked_words)


def _call(
    tool: Tool, read_call: Callable[[Limits], Call], *, has_fallback: bool = False
) -> Iterator[ToolInvokeMessage]:
    with _reported(tool):
        read = credentials.read(tool.runtime.credentials)
        limits = _limits(read)
        call = read_call(limits)
        deadline = Deadline(call.timeout_s)
        pool = _pool(read)
        with _ALLOWANCE.place(_user(tool), read.max_jobs_per_user, lambda ids: _is_underway(ids, pool)) as leave:
            moderating.check(tool, call, deadline)
            call = call.with_files(intake.files(call, pool, deadline))
            key = _key(tool, call)
            reword = Rewriter(tool, call, call.enhance, limits, deadline) if call.enhance is not None else None
            if call.wait:
                steps = generation.generate(
                    call.source,
                    call.inputs,
                    pool,
                    deadline=deadline,
                    extra_data=_extra_data(read, _user(tool)),
                    key=key,
                    keeps_on=call.keeps_on,
                    most_pixels=read.max_pixels,
                    instead=_instead(call, read, deadline) if has_fallback else None,
                    form=call.form,
                    reword=reword,
                )
                yield from _handed_over(tool, steps, call.output, read, progress=call.progress)
            else:
                jobs = generation.submit(
                    call.source,
                    call.inputs,
                    pool,
                    deadline=deadline,
                    extra_data=_extra_data(read, _user(tool)),
                    key=key,
                    most_pixels=read.max_pixels,
                    reword=reword,
                )
                leave(job.prompt_id for job in jobs)
                known = facts(jobs, "queued")
                seed = f", seed {known['seed']}" if "seed" in known else ""
                line = f"Queued in ComfyUI as {known['prompt_id']}{seed}."
                line, room = noted(line, jobs[0].filled.notes, LONGEST_ANSWER - answer_size(known, line))
                yield tool.create_text_message(line)
                yield from machine_data(tool, known, prompts(jobs), room)


def _user(tool: Tool) -> str:
    """Who calls, as far as Dify tells; all whom it does not tell are one."""
    return tool.runtime.user_id or ""


def _is_underway(prompt_ids: tuple[str, ...], pool: Pool) -> bool:
    try:
        return collecting.standing(prompt_ids, pool, Deadline(_STANDING_S)) is not None
    except Unavailable:
        # A server that is away holds up nobody: if it is the only one, there is no job to be had anyway.
        return False


def _instead(call: Call, read: Credentials, deadline: Deadline) -> generation.Instead | None:
    service = read.fallback
    if service is None:
        return None
    return lambda cause: fallback.draw(service, call.inputs, deadline, most_pixels=read.max_pixels, cause=cause)


def _key(tool: Tool, call: Call) -> Key | None:
    if not call.idempotency_key:
        return None
    return idempotency.key(tool.session.app_id, tool.runtime.user_id, call.idempotency_key, call.source, call.inputs)


def _handed_over(
    tool: Tool,
    steps: Iterator[Event | OutputFile | Outcome | Picture | Drawn],
    output: str,
    read: Credentials,
    *,
    progress: bool,
) -> Iterator[ToolInvokeMessage]:
    """Dify's messages for what a job yields."""
    said = ProgressText()
    delivery = Delivery(tool, output, read.image_base_url)
    for step in steps:
        match step:
            case OutputFile() | Picture():
                yield from delivery.hand_over(step, LONGEST_ANSWER - said.written)
            case Outcome():
                yield from delivery.summary(step, LONGEST_ANSWER - said.written)
            case Drawn():
                yield from delivery.drawn(step, LONGEST_ANSWER - said.written)
            case Waiting() | Progress():
                if progress and (text := said.of(step)):
                    yield tool.create_stream_variable_message("progress", text)
        # Or the bytes of a picture stay while the next one comes.
        del step


def _client(server: Server) -> Client:
    headers = {**ASK_FOR_LINKS, **dict(server.headers)}
    return Client(server.base_url, headers, query=server.query, verify_tls=server.verify_tls)


@functools.lru_cache(maxsize=_POOLS)
def _pool_of(servers: tuple[Server, ...]) -> Pool:
    for server in servers:
        if not server.verify_tls and server.base_url.startswith("https:"):
            logger.warning("verify_tls is off: whoever answers for %s is believed to be it", server.base_url)
    return Pool([_client(server) for server in servers])


def _pool(read: Credentials) -> Pool:
    """One pool for all calls with the same servers and ways in, so that connections and definitions are kept."""
    return _pool_of(read.servers)


def _extra_data(read: Credentials, user: str) -> dict[str, Any]:
    # A digest tells users apart, for a gateway that gives each of them one version of a template, and says who none is.
    told = {"comfybridge": {"user": hashlib.sha256(user.encode()).hexdigest()[:_USER_DIGITS]}} if user else {}
    # Beside the graph, where ComfyUI's API nodes look for it; it keeps the key out of the history (server.py).
    return told | ({generation.COMFY_ORG_KEY: read.comfy_org_api_key} if read.comfy_org_api_key else {})


@contextlib.contextmanager
def _reported(tool: Tool) -> Iterator[None]:
    """Give every error the first line that a fail branch reads, and a sentence in either language, no address in it."""
    try:
        yield
    except ComfyError as exc:
        english, chinese = discretion.discreet(exc, tool.runtime.credentials)
        if isinstance(exc, Unavailable):
            # Whoever chats reads the first sentence; the cause is for the one who runs the servers.
            logger.warning("%s", exc.__cause__ if isinstance(exc.__cause__, Unavailable) else exc)
            first, first_zh = (_NOT_LET_IN, _NOT_LET_IN_ZH) if exc.is_denied else (_TRY_LATER, _TRY_LATER_ZH)
            english, chinese = f"{first} ({english})", f"{first_zh}（{chinese}）"
        elif isinstance(exc, Lost):
            logger.warning("%s", exc)
        exc.args = (f"outcome={exc.outcome} prompt_id={exc.prompt_id or '-'}\n{english}\n{chinese}",)
        raise

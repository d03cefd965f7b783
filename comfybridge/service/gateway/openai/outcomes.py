"""How jobs ended, and the pictures that they made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from comfybridge import messages
from comfybridge.service.gateway import rows
from comfybridge.service.gateway.openai.errors import ApiError, invalid
from comfybridge.service.gateway.rows import File

_ENDED = """
SELECT prompt_id, outcome, reason, history, prompt,
    coalesce(extra_data #>> '{comfybridge, template}', template) AS template
FROM jobs
WHERE owner = %(owner)s AND prompt_id = ANY (%(prompt_ids)s) AND state = 'ended'
    AND NOT EXISTS (
        SELECT FROM jobs WHERE owner = %(owner)s AND prompt_id = ANY (%(prompt_ids)s) AND state <> 'ended')
"""

_STATUS = {"failed": 500, "rejected": 400, "cancelled": 409, "timed_out": 504, "lost": 500}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    prompt_id: str
    outcome: str
    reason: Mapping[str, str] | None
    history: Mapping[str, Any] | None
    prompt: Mapping[str, Any]
    template: str


async def ended(pool: AsyncConnectionPool, owner: str, prompt_ids: Sequence[str]) -> list[Ended] | None:
    """The jobs in the order of their ids; ``None`` while one of them waits or runs. What is not there is left out."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Ended)) as cursor:
        values = {"owner": owner, "prompt_ids": list(prompt_ids)}
        found = await (await cursor.execute(_ENDED, values)).fetchall()
    by_id = {end.prompt_id: end for end in found}
    return [by_id[prompt_id] for prompt_id in prompt_ids if prompt_id in by_id] if found else None


async def pictures(pool: AsyncConnectionPool, owner: str, ends: Sequence[Ended]) -> list[File]:
    """Everything that the jobs drew, in order.

    Raises:
        ApiError: one of them did not succeed, or drew nothing.
    """
    drawn: list[File] = []
    for end in ends:
        if end.outcome != "succeeded":
            raise failure(end)
        entry = {**(end.history or {}), "prompt": [0, end.prompt_id, end.prompt, {}, []]}
        verdict = messages.read_history(entry)
        saved = messages.saved(verdict.outputs) if isinstance(verdict, messages.Succeeded) else ()
        files = [await rows.file(pool, owner, (output.type, output.subfolder, output.filename)) for output in saved]
        found = [file for file in files if file is not None and file.mime.startswith("image/")]
        if not found:
            raise gone(f"prompt_id {end.prompt_id}")
        drawn += found
    return drawn


def failure(end: Ended) -> ApiError:
    """What becomes of a job that did not succeed: drawing it again would not help, or is for the caller to say."""
    reason = end.reason or {}
    english = f"{reason.get('en') or 'The job did not succeed.'} (prompt_id {end.prompt_id})"
    chinese = f"{reason.get('zh') or '任务未成功。'}（prompt_id {end.prompt_id}）"
    if end.outcome == "rejected":
        return invalid(english, chinese, code=end.outcome)
    return ApiError(_STATUS[end.outcome], english, chinese, code=end.outcome, may_retry=False)


def gone(what: str) -> ApiError:
    return ApiError(
        500,
        f"There is no picture, or it has expired ({what}).",
        f"没有图片，或图片已过期（{what}）。",
        code="no_picture",
        may_retry=False,
    )


def late(prompt_ids: Sequence[str], seconds: float) -> ApiError:
    ids = ",".join(prompt_ids)
    return ApiError(
        504,
        f"Not finished after {seconds:.0f} s. It goes on: GET /comfybridge/images/{ids} gives the result"
        f" (prompt_id {ids}).",
        f"{seconds:.0f} 秒内未完成，任务仍在继续：可用 GET /comfybridge/images/{ids} 取得结果（prompt_id {ids}）。",
        code="timed_out",
        may_retry=False,
    )

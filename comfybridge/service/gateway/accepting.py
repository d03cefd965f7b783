"""``POST /prompt``: checked against what the fleet has, and durable before the answer."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection

from comfybridge import library
from comfybridge.graph import InputRef
from comfybridge.service import allowed, catalogue
from comfybridge.service.claiming import LEASE_S, PLACES
from comfybridge.service.database import QUEUED, WORK, as_json, told, work_of
from comfybridge.service.gateway import places, rows
from comfybridge.service.gateway.backlog import Busy, hold_place
from comfybridge.service.gateway.bodies import Malformed
from comfybridge.service.gateway.callers import Caller
from comfybridge.service.gateway.state import State
from comfybridge.validation import Verdict, validate

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of ``extra_data`` that reach the nodes, but neither queue nor history (execution.py)."""

_LONGEST_ID = 200
_KINDS = ("image", "video", "audio", "model")
_NO_PROMPT = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided", "extra_info": {}}

# The second column: whose worker can begin at once, or else soonest; none where all have as much as they may.
# A newcomer, or one who comes back, starts at the clock of the first of those who are there: no debt to collect.
_ACCEPT = """
WITH turn AS (
    INSERT INTO turns
    SELECT %(priority)s, %(owner)s, coalesce(
        (SELECT min(clock) FROM turns AS other WHERE priority = %(priority)s AND EXISTS (
            SELECT FROM jobs WHERE jobs.owner = other.owner AND jobs.priority = %(priority)s AND state <> 'ended')),
        (SELECT max(clock) FROM turns AS other WHERE priority = %(priority)s), 0)
    WHERE NOT EXISTS (
        SELECT FROM jobs WHERE owner = %(owner)s AND priority = %(priority)s AND state <> 'ended')
    ON CONFLICT (priority, owner) DO UPDATE SET clock = greatest(turns.clock, EXCLUDED.clock)
),
accepted AS (
    INSERT INTO jobs (prompt_id, owner, client_id, prompt, extra_data, secrets, targets, is_partial, node_errors,
        inputs, template, wants, priority, limit_s, number)
    VALUES (%(prompt_id)s, %(owner)s, %(client_id)s, %(prompt)s, %(extra_data)s, %(secrets)s, %(targets)s,
        %(is_partial)s, %(node_errors)s, %(inputs)s, %(template)s, %(wants)s, %(priority)s, %(limit_s)s,
        coalesce(%(number)s::float, %(sign)s * nextval('numbers')))
    ON CONFLICT (prompt_id) DO NOTHING
    RETURNING number, wants
)
SELECT number, (
    SELECT url FROM offers JOIN servers ON url = server
    CROSS JOIN LATERAL (
        SELECT count(*) AS held FROM jobs WHERE jobs.server = url AND state IN ('claimed', 'running')
    ) AS busy
    WHERE offers.wants = accepted.wants AND mode = 'active' AND health = 'well' AND held < %(places)s
        AND heartbeat > now() - make_interval(secs => %(lease_s)s)
    ORDER BY held, loaded = accepted.wants DESC, random() LIMIT 1
) AS server
FROM accepted
"""


_WANT = """
WITH known AS (INSERT INTO wants VALUES (%(wants)s, %(needs)s) ON CONFLICT DO NOTHING)
INSERT INTO offers SELECT url, %(wants)s FROM unnest(%(able)s::text[]) AS url ON CONFLICT DO NOTHING
"""


class Refused(Exception):
    """A 400 in ComfyUI's own shape."""

    def __init__(self, error: Mapping[str, Any] | None, node_errors: Mapping[str, Any]) -> None:
        super().__init__(str((error or {}).get("message")))
        self.body = {"error": error, "node_errors": node_errors}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    prompt_id: str
    number: float
    node_errors: Mapping[str, Any]


async def accept(state: State, caller: Caller, body: Any) -> Accepted:
    """Queue a prompt; one whose ``prompt_id`` is known is there already, and is answered as the first time.

    Raises:
        Malformed: not of ComfyUI's form.
        Refused: no server of the fleet can run it, or this caller may not have it run.
        Busy: too much waits already; nothing is written.
    """
    if isinstance(body, list):
        raise Refused(_NO_PROMPT, {})
    if not isinstance(body, dict):
        raise Malformed("the body is no object")
    number = _number(body)
    prompt_id = str(body["prompt_id"]) if "prompt_id" in body else str(uuid4())
    if not 0 < len(prompt_id) <= _LONGEST_ID:
        raise Malformed("prompt_id is no usable text")
    try:
        accepted = await _new(state, caller, body, prompt_id, number)
    except (Malformed, Refused, Busy) as exc:
        if (known := await _known(state, caller, prompt_id)) is not None:
            return known
        if number is None and not isinstance(exc, Busy):
            # The counter moves on for refused prompts, too.
            async with state.pool.connection() as connection:
                await connection.execute("SELECT nextval('numbers')")
        raise
    if accepted is None and (accepted := await _known(state, caller, prompt_id)) is None:
        raise Malformed("prompt_id is taken")
    return accepted


async def _new(
    state: State, caller: Caller, body: Mapping[str, Any], prompt_id: str, number: float | None
) -> Accepted | None:
    """Queue a prompt; ``None`` when its id is known. All of it is one statement, but for what is wanted first."""
    if "prompt" not in body:
        raise Refused(_NO_PROMPT, {})
    prompt, extra_data = body["prompt"] or {}, body.get("extra_data") or {}
    if not isinstance(prompt, dict) or not isinstance(extra_data, dict):
        raise Malformed("prompt and extra_data are objects")
    await state.backlog.look()
    client_id = str(body.get("client_id") or "")
    if len(client_id) > _LONGEST_ID:
        # It goes into notifications, which are short.
        raise Malformed(f"client_id has more than {_LONGEST_ID} characters")
    verdict, files = await _checked(state, caller, prompt, body.get("partial_execution_targets"))
    if (refusal := _forbidden(state, caller, prompt)) is not None:
        raise Refused(refusal, {})
    needs = catalogue.needs(prompt, state.fleet.classes)
    able = state.fleet.able(needs)
    if not able:
        raise Refused(_nowhere(needs), {})
    told_data = {name: value for name, value in extra_data.items() if name not in SECRETS}
    if "client_id" in body:
        told_data["client_id"] = body["client_id"]
    told_data["create_time"] = int(time.time() * 1000)
    own, wants = extra_data.get("comfybridge"), catalogue.digest(needs)
    template = _template(state, own)
    values = {
        "prompt_id": prompt_id,
        "owner": caller.owner,
        "client_id": client_id,
        "prompt": as_json(prompt),
        "extra_data": as_json(told_data),
        "secrets": as_json({name: extra_data[name] for name in SECRETS if name in extra_data}),
        "targets": verdict.outputs,
        "is_partial": body.get("partial_execution_targets") is not None,
        "node_errors": as_json(verdict.node_errors),
        "inputs": as_json(
            [
                {
                    "node_id": ref.node_id,
                    "input": ref.input,
                    "within": key,
                    "subfolder": file.subfolder if file.type == "input" else "",
                    "filename": file.filename,
                    "key": file.key,
                }
                for (ref, key), file in files.items()
            ]
        ),
        "template": template,
        "limit_s": state.options.limits.of(template),
        "places": PLACES,
        "lease_s": LEASE_S,
        "wants": wants,
        "needs": as_json(needs),
        "able": able,
        "priority": caller.priority,
        "number": number,
        "sign": -1 if body.get("front") else 1,
    }
    want = (wants, *able)
    async with state.pool.connection() as connection:
        if want not in state.fleet.wanted:
            await connection.execute(_WANT, values)
            state.fleet.wanted.add(want)
        with state.backlog.place():
            row = await _insert(connection, caller, values)
    if row is None:
        return None
    number, server = row
    state.notices.tell(QUEUED, told({"prompt_id": prompt_id, "owner": caller.owner, "client_id": client_id}))
    # Where each has enough to do, whoever is done first takes it.
    channel, payload = (work_of(server), prompt_id) if server is not None else (WORK, "")
    state.notices.tell(channel, payload)
    return Accepted(prompt_id=prompt_id, number=number, node_errors=verdict.node_errors)


def _template(state: State, own: Any) -> str:
    """The version that a client says it runs; empty where the fleet has none of that name and version."""
    told = own.get("template") if isinstance(own, dict) else None
    return told if isinstance(told, str) and state.offering.held.knows(told) else ""


async def _insert(
    connection: AsyncConnection, caller: Caller, values: Mapping[str, Any]
) -> tuple[float, str | None] | None:
    """Queue it; where the key has a limit, one after the other, so that it is never passed."""
    most = caller.limits.get("queued")
    if most is None:
        return await (await connection.execute(_ACCEPT, values)).fetchone()
    async with connection.transaction():
        await hold_place(connection, caller, most)
        return await (await connection.execute(_ACCEPT, values)).fetchone()


async def _known(state: State, caller: Caller, prompt_id: str) -> Accepted | None:
    job = await rows.job(state.pool, caller.owner, prompt_id)
    if job is None:
        return None
    return Accepted(prompt_id=prompt_id, number=job.number, node_errors=job.node_errors)


def _number(body: Mapping[str, Any]) -> float | None:
    """The prompt's place, if it asks for one."""
    if "number" not in body:
        return None
    try:
        number = float(body["number"])
    except (TypeError, ValueError, OverflowError) as exc:
        raise Malformed("number is no number") from exc
    if not math.isfinite(number):
        raise Malformed("number is no number")
    return number


async def _checked(
    state: State, caller: Caller, prompt: dict[str, Any], targets: Any
) -> tuple[Verdict, dict[tuple[InputRef, str], rows.File]]:
    """ComfyUI's own checks, by what the fleet and the caller have; and the caller's files that the graph loads.

    These by their input, and the key within its value if it is no text.
    """
    await state.fleet.refresh()
    classes = state.fleet.classes
    files: dict[tuple[InputRef, str], rows.File] = {}
    names: dict[str, bool] = {}
    for ref, name in catalogue.upload_inputs(prompt, classes).items():
        found = await _file(state, caller, name)
        names[name] = found is not None
        if found is not None:
            files[ref, ""] = found
    extra = []
    for ref, key, name in catalogue.possible_files(prompt, classes):
        if (found := await _file(state, caller, name)) is not None:
            files[ref, key] = found
            names[name] = True
            extra.append((str(prompt[ref.node_id]["class_type"]), ref.input, name))
    present = [name for name, is_there in names.items() if is_there]
    declared = catalogue.Catalogue(classes, dict.fromkeys(_KINDS, present), extra)
    try:
        verdict = validate(prompt, targets, declared, lambda name: names.get(name, False))
    except TypeError as exc:
        raise Malformed("no graph") from exc
    if not verdict.outputs:
        raise Refused(verdict.error, verdict.node_errors)
    return verdict, files


def _forbidden(state: State, caller: Caller, prompt: dict[str, Any]) -> dict[str, Any] | None:
    """What this caller's key has against the graph."""
    most = caller.limits.get("pixels")
    if most is not None and (pixels := allowed.pixels(prompt)) > most:
        return _not_for_this_key("A node makes more pixels than this key may", f"{pixels} > {most}", "too_many_pixels")
    if caller.templates is None:
        return None
    known = (*library.templates(), *state.offering.graphs.values())
    theirs = [each for each in known if each.base_name in caller.templates]
    if allowed.template_of(prompt, theirs, state.fleet.classes) is not None:
        return None
    names = ", ".join(sorted(caller.templates)) or "none"
    return _not_for_this_key("This key may use these templates only, as they are", names, "template_not_allowed")


def _not_for_this_key(message: str, details: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


async def _file(state: State, caller: Caller, name: str) -> rows.File | None:
    place = places.of_input(name)
    return await rows.file(state.pool, caller.owner, place) if place is not None else None


def _nowhere(needs: catalogue.Needs) -> dict[str, Any]:
    wanted = ", ".join(str(value) for _, _, value in needs["models"]) or ", ".join(needs["classes"])
    return {
        "type": "prompt_outputs_failed_validation",
        "message": "No single server has everything that the workflow needs",
        "details": wanted,
        "extra_info": {},
    }

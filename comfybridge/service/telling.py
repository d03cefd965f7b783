"""What follows a worker's writes and need not wait for the disk: which jobs began, bills, and the news of both.

All that there is goes in one statement, since each commit that notifies wakes every process of the fleet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from psycopg import Connection

from comfybridge.service.claiming import Claimed
from comfybridge.service.database import ENDED, STARTED, as_json, told

_LATEST = 0.3
"""How much the latest run counts in what such a graph is expected to take."""
_LEAST_TURN_S = 0.1
"""What every turn costs: whoever sends what is cached would else be first for ever."""

# Jobs before turns, as everybody locks them; one bill only, so that no two wait for each other's turns.
_TELL = """
WITH asynchronous AS (SELECT set_config('synchronous_commit', 'off', true)),
begun AS (
    UPDATE jobs SET state = 'running', started = clock_timestamp()
    FROM json_to_recordset(%(begun)s) AS mine (prompt_id text, fence bigint)
    WHERE jobs.prompt_id = mine.prompt_id AND jobs.fence = mine.fence AND jobs.state = 'claimed'
),
paid AS (
    UPDATE turns SET clock = clock + %(cost_s)s::float - %(estimate_s)s::float
    WHERE priority = %(priority)s AND owner = %(owner)s
),
learned AS (
    INSERT INTO durations (wants, seconds) SELECT %(wants)s, %(cost_s)s::float WHERE %(succeeded)s
    ON CONFLICT (wants) DO UPDATE SET
        seconds = durations.seconds * (1 - %(latest)s) + EXCLUDED.seconds * %(latest)s
)
SELECT pg_notify(channel, payload)
FROM asynchronous, json_to_recordset(%(notices)s) AS news (channel text, payload text)
"""

Notice: TypeAlias = tuple[str, str]
"""A channel and what is told there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a job that ended cost, and what its turn was charged with before."""

    prompt_id: str
    owner: str
    client_id: str
    priority: int
    wants: str
    estimate_s: float
    gpu_s: float
    succeeded: bool


def began(job: Claimed) -> Notice:
    return STARTED, told({"prompt_id": job.prompt_id, "owner": job.owner, "client_id": job.client_id})


def ended(bill: Bill) -> Notice:
    return ENDED, told({"prompt_id": bill.prompt_id, "owner": bill.owner, "client_id": bill.client_id})


def tell(
    connection: Connection, notices: Sequence[Notice], *, begun: Sequence[Claimed] = (), bill: Bill | None = None
) -> None:
    """Mark jobs that left their ComfyUI's queue, unless they ended or are no longer ours; pay a bill; notify."""
    values = {
        "begun": as_json([{"prompt_id": job.prompt_id, "fence": job.fence} for job in begun]),
        "notices": as_json([{"channel": channel, "payload": payload} for channel, payload in notices]),
        "cost_s": bill and max(bill.gpu_s, _LEAST_TURN_S),
        "estimate_s": bill and bill.estimate_s,
        "priority": bill and bill.priority,
        "owner": bill and bill.owner,
        "wants": bill and bill.wants,
        "succeeded": bill is not None and bill.succeeded,
        "latest": _LATEST,
    }
    connection.execute(_TELL, values)

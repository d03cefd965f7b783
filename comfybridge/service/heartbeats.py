"""Whether a worker lives, as its row says: what asks needs neither its process nor its machine."""

import math
from contextlib import closing

import psycopg

from comfybridge import client
from comfybridge.service.claiming import LEASE_S

LONGEST_S = 4 * LEASE_S
"""A worker that is silent for so long is stuck: its jobs moved on long ago."""

_CONNECT_S = 5


def silent_s(database: str, comfyui: str) -> float | None:
    """Since when nothing is heard of a server's worker, in seconds; ``None`` while the database does not say."""
    query = "SELECT extract(epoch FROM now() - heartbeat)::float FROM servers WHERE url = %s"
    with closing(client.Client(comfyui)) as asked:
        url = asked.base_url
    try:
        with psycopg.connect(database, connect_timeout=_CONNECT_S) as connection:
            row = connection.execute(query, (url,)).fetchone()
    except psycopg.OperationalError:
        return None
    return float(row[0]) if row is not None else math.inf

"""Some ComfyUIs under one gateway, with a look into the database."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from comfybridge.service.gateway.state import Options
from tests.contract.server import Prompt, Server, eventually
from tests.service.running import database, gateway, worker


@dataclass(frozen=True)
class Fleet:
    server: Server
    url: str
    connection: psycopg.Connection

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode(), values).fetchall()

    def row(self, query: str, *values: Any) -> tuple[Any, ...]:
        (row,) = self.rows(query, *values)
        return row

    def submit(self, prompt: Prompt, template: str = "") -> str:
        return self.server.submit(prompt, extra_data={"comfybridge": {"template": template}})

    def outcome(self, prompt_id: str) -> str:
        """How a job ended, when it has."""
        (outcome,) = eventually(
            lambda: self.connection.execute(
                "SELECT outcome FROM jobs WHERE prompt_id = %s AND state = 'ended'", (prompt_id,)
            ).fetchone()
        )
        assert isinstance(outcome, str)
        return outcome

    def health(self, comfyui: str) -> str:
        health: str = self.row("SELECT health FROM servers WHERE url = %s", comfyui)[0]
        return health


@contextmanager
def fleet(
    postgres: str, store: Path, comfyuis: Sequence[str], options: Options | None = None, **settings: Any
) -> Iterator[Fleet]:
    """All servers ready; ``options`` are the gateway's, ``settings`` each worker's."""
    with ExitStack() as stack:
        url = stack.enter_context(database(postgres))
        for comfyui in comfyuis:
            stack.enter_context(worker(url, store, comfyui, **settings))
        server = Server(stack.enter_context(gateway(url, store, options)))
        stack.callback(server.close)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        found = Fleet(server, url, connection)
        eventually(lambda: found.row("SELECT count(*) FROM servers WHERE health = 'well'")[0] == len(comfyuis))
        yield found

"""A service with people in it: servers that paint and show previews, keys, jobs of several templates, and a past."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from comfybridge.service import keys
from comfybridge.service.gateway.state import Options
from comfybridge.simulator import Simulator
from tests.contract.server import Prompt, Server, eventually
from tests.faults.ports import own_port
from tests.service.running import are_well, database, gateway, worker

ROOT = Path(__file__).parents[2]
ADMIN, ANNA = "admin-key", "anna-key"


@dataclass
class Service:
    """A gateway that can be stopped and started again at the same address."""

    database: str
    store: Path
    comfyuis: list[Simulator]
    connection: psycopg.Connection
    options: Options
    port: int = field(default_factory=own_port)
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._stack.enter_context(gateway(self.database, self.store, self.options, port=self.port))

    def stop(self) -> None:
        self._stack.close()

    def server(self, key: str = "") -> Server:
        return Server(self.url, key)

    def one(self, query: str, *values: Any) -> Any:
        row = self.connection.execute(query.encode(), values).fetchone()
        return row[0] if row is not None else None

    def end_all(self) -> None:
        """Let go of what is held, and of what waits, so that the next test begins with nothing."""
        for comfyui in self.comfyuis:
            comfyui.release()
        for key in (ADMIN, ANNA):
            with_key = self.server(key)
            with_key.post("/comfybridge/cancel", json={"waiting": True})
            with_key.post("/interrupt")
            with_key.close()
        eventually(lambda: self.one("SELECT count(*) FROM jobs WHERE state <> 'ended'") == 0)


@contextmanager
def service(
    postgres: str,
    store: Path,
    *,
    servers: int = 2,
    work: float = 0.0,
    with_keys: bool = True,
    options: Options | None = None,
) -> Iterator[Service]:
    with ExitStack() as stack:
        comfyuis = [stack.enter_context(Simulator(work=work, previews=True)) for _ in range(servers)]
        url = stack.enter_context(database(postgres))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        for comfyui in comfyuis:
            stack.enter_context(worker(url, store, comfyui.url))
        are_well(connection, servers)
        if with_keys:
            for name, text in (("operator", ADMIN), ("anna", ANNA)):
                keys.add(connection, name, {"admin": text == ADMIN})
                connection.execute("UPDATE keys SET hash = %s WHERE name = %s", (keys.hashed(text), name))
        found = Service(url, store, comfyuis, connection, options or Options())
        found.start()
        stack.callback(found.stop)
        yield found


def painted(text: str, *, template: str = "sdxl", seed: int = 1, **sampler: Any) -> Prompt:
    """A template's graph with this text."""
    graph: Prompt = json.loads((ROOT / "workflows" / f"{template}.json").read_text())
    samplers = [node for node in graph.values() if node["class_type"] == "KSampler"]
    for node in samplers:
        node["inputs"] |= {"seed": seed, **sampler}
    texts = [node for node in graph.values() if node["class_type"] in ("CLIPTextEncode", "PrimitiveStringMultiline")]
    text_node = next((node for node in texts if isinstance(node["inputs"].get("value"), str)), texts[0])
    text_node["inputs"]["value" if "value" in text_node["inputs"] else "text"] = text
    for node in graph.values():
        if node["class_type"] == "EmptyLatentImage":
            node["inputs"] |= {"width": 512, "height": 512}
    return graph


def sent(server: Server, text: str, *, template: str = "sdxl", seed: int = 1, **sampler: Any) -> str:
    """A job of a template; its id."""
    told = {"comfybridge": {"template": f"{template}@1"}}
    return server.submit(painted(text, template=template, seed=seed, **sampler), extra_data=told)

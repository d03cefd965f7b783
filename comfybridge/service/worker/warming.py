"""Templates that are run once when a server comes up, so that its model is loaded when the first job wants it.

Jobs go before: what waits loads what it needs itself.
"""

import dataclasses
import logging
from collections.abc import Sequence
from uuid import uuid4

from psycopg import Connection

from comfybridge import filling, jobs
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError
from comfybridge.filling import Filled, Inputs
from comfybridge.graph import Graph
from comfybridge.messages import Succeeded, read_history
from comfybridge.service import catalogue
from comfybridge.service.database import as_json
from comfybridge.service.worker.describing import Description
from comfybridge.service.worker.running import drained
from comfybridge.workflow import Definitions, Prompt, output_nodes

logger = logging.getLogger(__name__)

_LONGEST_S = 1800.0
_SIDE, _STEPS = 256, 1
_PREVIEWS = {"PreviewAny": "source", "PreviewImage": "images"}
"""What an output becomes, the first of these that the server has; it saves nothing that lasts."""

_IS_WANTED = """
SELECT EXISTS (
    SELECT FROM jobs JOIN offers ON offers.wants = jobs.wants WHERE state = 'queued' AND offers.server = %s
)
"""
_LOADED = """
WITH known AS (INSERT INTO wants VALUES (%(wants)s, %(needs)s) ON CONFLICT DO NOTHING)
UPDATE servers SET loaded = %(wants)s WHERE url = %(server)s
"""


class Warming:
    """For one server. Used by one thread."""

    def __init__(self, client: Client, server: str, names: Sequence[str]) -> None:
        self._client = client
        self._server = server
        self._done = 0
        self.names = names

    def see_to(self, connection: Connection, description: Description) -> None:
        """Whenever the server came up, run what it is to be warmed by, as soon as no job waits that it can run."""
        comebacks = description.comebacks
        if comebacks == self._done or connection.execute(_IS_WANTED, (self._server,)).fetchone() != (False,):
            return
        description.remarks = {name: remark for name in self.names if (remark := self._warm(connection, name))}
        self._done = comebacks

    def _warm(self, connection: Connection, name: str) -> tuple[str, str] | None:
        """Run a template; why that did not succeed, in English and Chinese."""
        logger.info("%s is warmed by %s", self._server, name)
        try:
            wanted = self._run(name)
        except ComfyError as exc:
            logger.warning("%s is not warmed by %s: %s", self._server, name, exc)
            return f"--warm {name}: {exc}", f"--warm {name}：{exc.zh}"
        values = {"wants": catalogue.digest(wanted), "needs": as_json(wanted), "server": self._server}
        connection.execute(_LOADED, values)
        return None

    def _run(self, name: str) -> catalogue.Needs:
        """What the server has loaded by now.

        Raises:
            ComfyError: there is no such template, or it does not run here.
        """
        # Here, since most workers warm nothing and shall run their first job soon: this reads all that reads workflows.
        from comfybridge import choosing  # noqa: PLC0415
        from comfybridge.library import Named  # noqa: PLC0415

        deadline = Deadline(_LONGEST_S)
        cheap = Inputs(width=_SIDE, height=_SIDE, steps=_STEPS, count=1)
        template, inputs, definitions = choosing.choose(self._client, Named(name), cheap, deadline, refresh=True)
        filled = filling.fill(template, inputs, definitions)[0]
        if problems := choosing.problems(filled, definitions, has_key=False):
            raise jobs.rejected(template, problems)
        previews = self._client.definitions(_PREVIEWS, deadline)
        graph = without_files(filled.prompt, {**previews, **definitions})
        self._wait(dataclasses.replace(filled, prompt=graph), deadline)
        return catalogue.needs(filled.prompt, definitions)

    def _wait(self, filled: Filled, deadline: Deadline) -> None:
        job = jobs.queue(self._client, filled, {}, deadline, {}, None, prompt_id=f"warm-{uuid4()}")
        found = read_history(drained(jobs.entry_of(job, deadline)))
        self._client.forget(job.prompt_id, deadline)
        if not isinstance(found, Succeeded):
            raise jobs.error_of(job, found)


def without_files(prompt: Prompt, definitions: Definitions) -> Prompt:
    """The graph with previews for its outputs, where the server has one that takes what the output takes."""
    graph = Graph(prompt, definitions)
    outputs = set(output_nodes(prompt, definitions))
    changed = {}
    for node_id, node in prompt.items():
        links = graph.links(node_id)
        kind = next((kind for kind in _PREVIEWS if kind in definitions), None)
        if kind == "PreviewImage" and "images" not in links:
            kind = None
        if node_id not in outputs or kind is None or not links:
            changed[node_id] = node
            continue
        name = "images" if "images" in links else next(iter(links))
        changed[node_id] = {"class_type": kind, "inputs": {_PREVIEWS[kind]: graph.inputs(node_id)[name]}}
    return changed

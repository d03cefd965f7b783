"""What a job made, on its way into the store: each file once, when its node is done or at the end."""

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg_pool import ConnectionPool

from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.media import output_type
from comfybridge.messages import Output
from comfybridge.service import finishing, outputs, store
from comfybridge.service.claiming import Claimed
from comfybridge.service.finishing import Kept
from comfybridge.service.frames import Frame
from comfybridge.service.store import Store

_SHOW_S = 60.0


@dataclass(slots=True)
class Shelf:
    """Of one job under one lease. Used by the threads that hear of it, that run it, and that show what it made."""

    job: Claimed
    client: Client
    store: Store
    shown: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The outputs that its client has seen before the end, as its ComfyUI named their files."""
    _kept: dict[Output, Kept] = field(default_factory=dict)
    _executed: set[str] = field(default_factory=set)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, output: Output, ask: Callable[[], bytes]) -> Kept:
        """Bring a file into the store, unless it is there; raises what ``ask`` does."""
        with self._lock:
            if output not in self._kept:
                data = ask()
                media = output_type(data, output.filename)
                key = store.output_key(self.job.prompt_id, self.job.fence, next(self._numbers))
                self.store.put(key, data)
                self._kept[output] = Kept(
                    node_id=output.node_id,
                    type=output.type,
                    subfolder=output.subfolder,
                    filename=output.filename,
                    key=key,
                    digest=store.digest(data),
                    mime=media.mime if media is not None else "application/octet-stream",
                    size=len(data),
                )
            return self._kept[output]

    def kept(self) -> list[Kept]:
        """All that is in the store."""
        with self._lock:
            return list(self._kept.values())

    def forget(self) -> None:
        """The job runs once more: what it makes then may have the same names."""
        with self._lock:
            self._kept.clear()
            self._executed.clear()

    def is_worth_showing(self, node_id: str) -> bool:
        """Whether a node that is done is not the last one, since the end tells of that, and somebody may look."""
        self._executed.add(node_id)
        return bool(self.job.client_id) and not self._executed.issuperset(self.job.targets)

    def show(self, frame: Frame, pool: ConnectionPool, *, keep_s: float) -> Frame | None:
        """An ``executed`` frame as its client may see it; ``None`` when the job is no longer ours.

        Raises:
            ComfyError: a file could not be had; the end tries again.
        """
        data = frame["data"]
        deadline = Deadline(_SHOW_S)
        found = outputs.named(data["node"], data["output"])
        kept = [self.keep(output, partial(self.client.view, output, deadline)) for output in found]
        with pool.connection() as connection:
            renamed = finishing.place(connection, self.job.prompt_id, self.job.fence, kept, keep_s=keep_s)
        if renamed is None:
            return None
        self.shown[data["node"]] = data["output"]
        return {**frame, "data": {**data, "output": outputs.named_anew(data["output"], renamed)}}

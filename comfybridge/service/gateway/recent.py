"""What ended a moment ago, and its files: whoever was told of the end asks for both at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from comfybridge.service.gateway.places import Place
from comfybridge.service.gateway.rows import File, Job

_FRESH_S = 2.0
"""So long another gateway may have hidden a job, or replaced a file, until this one knows."""
_MOST = 200


@dataclass(slots=True)
class Recent:
    """As the rows were, until ``forget``, which follows every change that this gateway makes to an owner's."""

    changes: int = 0
    _ended: dict[tuple[str, str], tuple[float, Job]] = field(default_factory=dict)
    _files: dict[tuple[str, Place], tuple[float, File]] = field(default_factory=dict)

    def remember(self, owner: str, job: Job, files: Sequence[File], *, changes: int) -> None:
        """Keep what was read when there were so many ``changes``; what changed meanwhile is not believed."""
        if changes != self.changes:
            return
        now = time.monotonic()
        self._ended[owner, job.prompt_id] = now, job
        for file in files:
            self._files[owner, (file.type, file.subfolder, file.filename)] = now, file
        _drop_old(self._ended, now)
        _drop_old(self._files, now)

    def forget(self) -> None:
        self.changes += 1
        self._ended.clear()
        self._files.clear()

    def job(self, owner: str, prompt_id: str) -> Job | None:
        """A job that ended."""
        at, job = self._ended.get((owner, prompt_id), (0.0, None))
        return job if time.monotonic() - at < _FRESH_S else None

    def file(self, owner: str, place: Place) -> File | None:
        at, file = self._files.get((owner, place), (0.0, None))
        return file if time.monotonic() - at < _FRESH_S else None


def _drop_old(known: dict[Any, tuple[float, Any]], now: float) -> None:
    while len(known) > _MOST or next(iter(known.values()), (now,))[0] < now - _FRESH_S:
        del known[next(iter(known))]

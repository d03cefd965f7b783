"""A batch: rows in, files and lines of the manifest out, each row once however often the batch is begun again."""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from comfybridge import library
from comfybridge.api import Comfy, Done, Event, File, Result
from comfybridge.batch import sheet
from comfybridge.batch.folder import Folder
from comfybridge.batch.manifest import Entry, Manifest
from comfybridge.batch.naming import Pattern
from comfybridge.batch.plan import Plan
from comfybridge.batch.rows import Row
from comfybridge.batch.summary import SUCCEEDED, Summary, summary
from comfybridge.batch.tables import Mistake
from comfybridge.errors import ComfyError, Lost, NoServer, Unavailable
from comfybridge.fingerprint import fingerprint
from comfybridge.media import image_size

FINAL = ("failed", "rejected")
"""How a row fails for good; one that was late, lost or cancelled is looked up, or made, by the next run."""
SUMMARY = "summary.json"

_TRIES = 3
_PATIENCE_S, _PAUSE_S = 120.0, 1.0


@dataclass(kw_only=True)
class Batch:
    """One run over the rows of a plan; ``on_event`` is told how they go, in threads of ours.

    ``jobs`` are in flight at once on each server. With ``retries`` rows that failed before are made once more.
    """

    comfy: Comfy
    plan: Plan
    folder: Folder
    manifest: Manifest
    pattern: Pattern
    jobs: int = 4
    retries: bool = False
    patience_s: float = _PATIENCE_S
    """How long all servers may be away, once one has been there."""
    on_event: Callable[[Event, Row], None] | None = None
    done_before: int = field(default=0, init=False)
    """Rows that an earlier run had ended, and bad ones."""
    left: int = field(default=0, init=False)
    """Rows that no server took: they are for another run."""
    no_server: NoServer | None = field(default=None, init=False)
    outcomes: Counter[str] = field(default_factory=Counter, init=False)
    """How the plan's rows ended, in this run or before."""
    summary: Summary = field(default_factory=Summary, init=False)
    """Of all that the folder has, once the run is over."""

    def __post_init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._again: list[tuple[Row, int]] = []
        self._tries: dict[int, int] = {}
        self._down_since: float | None = None
        self._has_made_some = False
        self._is_over = threading.Event()
        self._hashes: dict[str, str | None] = {}

    def run(self) -> Generator[Entry, None, None]:
        """Make what is not made yet, and give the manifest's line of each row as it ends.

        However it ends, by Ctrl-C too, the contact sheet and the summary tell what there is; to close it early cancels
        what is on its way.

        Raises:
            OSError: the output folder takes no more.
        """
        try:
            yield from self._round(((row, 1) for row in self._unmade()), is_new=self.folder.is_new)
            while self._again and not self._has_given_up():
                again, self._again = self._again, []
                yield from self._round(iter(again), is_new=False)
            self.left += len(self._again)
        finally:
            self._is_over.set()
            self.summary = self._tell()

    def _tell(self) -> Summary:
        """Write the contact sheet and the summary anew."""
        told = summary(self.manifest.entries())
        title = self.folder.path.resolve().name
        self.folder.write(sheet.NAME, sheet.page(title, self.manifest.entries(), told))
        self.folder.write(SUMMARY, iter([json.dumps(told.as_json(), indent=2, ensure_ascii=False) + "\n"]))
        return told

    def _unmade(self) -> Iterator[Row]:
        for row in self.plan.rows():
            outcome = self.manifest.outcome(row.content)
            if row.mistake is not None:
                self.done_before += 1
                if outcome is None:
                    self._keep(_entry_of_bad(row, row.mistake))
                else:
                    self.outcomes[outcome] += 1
                continue
            is_made = outcome == SUCCEEDED and self._has_files(row)
            if outcome is not None and (is_made or (outcome in FINAL and not self.retries)):
                self.done_before += 1
                self.outcomes[outcome] += 1
                continue
            yield row

    def _has_files(self, row: Row) -> bool:
        entry = self.manifest.entry(row.content) or {}
        return self.folder.has(entry.get("files") or ())

    def _round(self, rows: Iterator[tuple[Row, int]], *, is_new: bool) -> Iterator[Entry]:
        self._rows, self._tries = {}, {}
        tell = self._heard if self.on_event is not None else None
        made = self.comfy.map(self._wishes(rows), jobs=self.jobs, on_event=tell, keys_are_new=is_new)
        with contextlib.closing(made):
            for done in made:
                entry = self._ended(done)
                del self._rows[done.index]
                if entry is not None:
                    yield entry

    def _wishes(self, rows: Iterator[tuple[Row, int]]) -> Iterator[dict[str, Any]]:
        """Runs in the threads of ``map``, one at a time; waits while no server answers."""
        for index, (row, tries) in enumerate(rows):
            if not self._may_go_on():
                self.left += 1 + sum(1 for _ in rows)
                return
            self._rows[index], self._tries[index] = row, tries
            yield {**row.parameters, "key": f"{self.folder.batch_id}-{row.content}"}

    def _ended(self, done: Done[Any]) -> Entry | None:
        """The line of a row that has ended; ``None`` for one that is tried again."""
        row, tries = self._rows[done.index], self._tries.pop(done.index)
        if done.result is not None:
            self._down_since, self._has_made_some = None, True
            return self._keep(self._entry_of(row, done, done.result))
        error = done.error
        if isinstance(error, NoServer):
            # It is no fault of the row: it waits until one answers again.
            self.no_server = error
            self._down_since = self._down_since or time.monotonic()
            self._again.append((row, tries))
            return None
        if isinstance(error, Lost | Unavailable) and tries < _TRIES:
            self._again.append((row, tries + 1))
            return None
        return self._keep({**_facts(row), **_told(error), **_times(done.seconds)})

    def _may_go_on(self) -> bool:
        """Whether a row may be tried; after a while, where no server answered."""
        if self._down_since is not None and not self._has_given_up():
            self._is_over.wait(_PAUSE_S)
        return not self._has_given_up()

    def _has_given_up(self) -> bool:
        """A server that never answered is not waited for: somebody has to look after it."""
        since = self._down_since
        return since is not None and not (self._has_made_some and time.monotonic() - since < self.patience_s)

    def _heard(self, event: Event) -> None:
        row = self._rows.get(event.row) if event.row is not None else None
        if self.on_event is not None and row is not None:
            self.on_event(event, row)

    def _entry_of(self, row: Row, done: Done[Any], result: Result) -> Entry:
        values = {
            "seed": result.seed,
            "width": result.width,
            "height": result.height,
            "name": row.name,
            "prompt": row.parameters.get("prompt", ""),
            "template": result.template,
            "row": row.number,
        }
        files = [
            self._saved(file, {**values, "n": number, "index": number})
            for number, file in enumerate(result.files, start=1)
        ]
        return {
            **_facts(row),
            "outcome": SUCCEEDED,
            "seed": result.seed,
            "width": result.width,
            "height": result.height,
            "template": result.template,
            "template_hash": self._hash_of(result.template),
            "model": result.model,
            "server": result.server,
            "prompt_ids": list(result.prompt_ids),
            "files": files,
            "texts": list(result.texts),
            "notes": [{"en": english, "zh": chinese} for english, chinese in result.notes],
            **_times(done.seconds),
            "graphs": [{"hash": fingerprint(graph), "prompt": graph} for graph in result.prompts],
        }

    def _hash_of(self, name: str) -> str | None:
        """What tells another run that a template has changed since; ``None`` for a workflow on the server."""
        if name not in self._hashes:
            template = library.find(name, self.comfy.templates())
            self._hashes[name] = fingerprint(template.prompt) if template is not None else None
        return self._hashes[name]

    def _saved(self, file: File, values: Mapping[str, Any]) -> dict[str, Any]:
        extension = PurePosixPath(file.filename).suffix
        path, digest = self.folder.save(file.data, lambda copy: self.pattern.path(values, extension, copy))
        size = image_size(file.data) if file.mime.startswith("image/") else None
        sides = {"width": size[0], "height": size[1]} if size is not None else {}
        return {"path": str(path), "mime": file.mime, "bytes": len(file.data), **sides, "sha256": digest}

    def _keep(self, entry: Entry) -> Entry:
        self.manifest.append(entry)
        self.outcomes[str(entry["outcome"])] += 1
        return entry


def _facts(row: Row) -> dict[str, Any]:
    return {
        "row": row.number,
        "line": row.line,
        "name": row.name,
        "content": row.content,
        "parameters": row.parameters,
    }


def _entry_of_bad(row: Row, mistake: Mistake) -> Entry:
    error = {"en": mistake.en, "zh": mistake.zh, "line": row.line, "column": mistake.column}
    return {**_facts(row), "outcome": "rejected", "error": error}


def _told(error: ComfyError | None) -> dict[str, Any]:
    assert error is not None  # noqa: S101  # a row ends with a result or an error
    return {
        "outcome": error.outcome,
        "error": {"en": str(error), "zh": error.zh},
        "prompt_ids": [error.prompt_id] if error.prompt_id else [],
        "server": error.server,
    }


def _times(seconds: float) -> dict[str, Any]:
    finished = datetime.now(UTC)
    started = finished - timedelta(seconds=seconds)
    return {
        "seconds": round(seconds, 3),
        "started": started.isoformat(timespec="milliseconds"),
        "finished": finished.isoformat(timespec="milliseconds"),
    }

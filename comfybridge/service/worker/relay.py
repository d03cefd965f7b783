"""What this worker tells the gateways, in its order: frames of its ComfyUI's WebSocket, starts and ends of jobs."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Condition, Event
from typing import Any

from psycopg import Connection

from comfybridge.service import frames, telling
from comfybridge.service.claiming import Claimed
from comfybridge.service.database import FRAMES, told
from comfybridge.service.frames import Frame
from comfybridge.service.telling import Bill, Notice

_PREVIEW_EVERY_S = 0.2
_WAIT_S = 0.5
_GATHER_S = 0.05
"""How long news waits for more of it; none that waits for an end waits longer."""
_MOST_AT_ONCE = 200


@dataclass(slots=True)
class _Followed:
    job: Claimed
    on_start: Callable[[], None]
    on_executed: Callable[[Frame], None]
    has_started: bool = False
    previewed: float = 0.0
    ended: float | None = None
    is_awaited: bool = True
    progress: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Item:
    job: Claimed
    frame: str = ""
    """In JSON, as its ComfyUI wrote it."""
    preview: bytes = b""
    is_start: bool = False


class Relay:
    """``tap`` is called by the thread that reads the socket, ``publish`` is the loop of another."""

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}
        self._waiting: SimpleQueue[_Item | Bill] = SimpleQueue()
        self._has_end = Event()
        self._changed = Condition()

    def follow(self, job: Claimed, on_start: Callable[[], None], on_executed: Callable[[Frame], None]) -> None:
        """Pass on the job's frames from now on; ``on_start`` is called when it leaves its ComfyUI's queue.

        What a node made nobody can see yet: ``on_executed`` gets these frames, and may ``tell`` them later.
        """
        self._followed[job.prompt_id] = _Followed(job, on_start, on_executed)

    def tell(self, job: Claimed, frame: Frame) -> None:
        """Pass on a frame of a job that is followed still."""
        if job.prompt_id in self._followed:
            self._waiting.put(_Item(job, frame=told(frame)))

    def leave(self, prompt_id: str) -> None:
        """Pass on no more of a job."""
        with self._changed:
            self._followed.pop(prompt_id, None)
            self._changed.notify_all()

    def ended(self, bill: Bill) -> None:
        """Tell of a job's end, after what came of it before."""
        self._waiting.put(bill)
        self._has_end.set()

    def started(self, prompt_id: str) -> None:
        """The job left its ComfyUI's queue, as a frame or somebody who looked says."""
        followed = self._followed.get(prompt_id)
        if followed is not None and not followed.has_started:
            followed.has_started = True
            self._waiting.put(_Item(followed.job, is_start=True))
            followed.on_start()

    def queued_again(self, prompt_id: str) -> None:
        """The job waits in its ComfyUI's queue once more: it will start a second time."""
        followed = self._followed.get(prompt_id)
        if followed is not None:
            with self._changed:
                followed.has_started, followed.ended = False, None
                self._changed.notify_all()

    def wait_for_earlier(self, job: Claimed, seconds: float) -> bool:
        """Wait until this worker left all jobs of the same owner that ended before this one; whether it has.

        One that takes longer is waited for no more.
        """
        with self._changed:
            is_next = self._changed.wait_for(lambda: not self._earlier(job), seconds)
            for one in self._earlier(job):
                one.is_awaited = False
        return is_next

    def _earlier(self, job: Claimed) -> list[_Followed]:
        ended = self.ended_at(job.prompt_id)
        others = [one for one in list(self._followed.values()) if one.job.owner == job.owner and one.is_awaited]
        return [one for one in others if one.ended is not None and one.ended < ended]

    def ended_at(self, prompt_id: str) -> float:
        """When the news came that ComfyUI ended the job, by ``time.monotonic``; now, where none came."""
        followed = self._followed.get(prompt_id)
        return followed.ended if followed is not None and followed.ended is not None else time.monotonic()

    @property
    def not_started(self) -> list[str]:
        return [prompt_id for prompt_id, followed in list(self._followed.items()) if not followed.has_started]

    @property
    def progress(self) -> dict[str, dict[str, Any]]:
        """The latest of each job, for those who come later."""
        return {prompt_id: dict(one.progress) for prompt_id, one in list(self._followed.items()) if one.progress}

    def tap(self, data: bytes, is_binary: bool) -> None:  # noqa: FBT001  (called by position)
        if is_binary:
            self._tap_preview(data)
            return
        try:
            frame = json.loads(data)
            name, prompt_id = frame["type"], frame["data"]["prompt_id"]
        except (ValueError, KeyError, TypeError):
            return
        followed = self._followed.get(prompt_id)
        if followed is not None and name == "executed":
            followed.on_executed(frame)
        if followed is not None and name in frames.ENDS:
            followed.ended = time.monotonic()
        if followed is None or name not in frames.PASSED_ON:
            return
        if name == "executing":
            if frame["data"].get("node") is None:
                return
            followed.progress["node"] = frame["data"]["node"]
        elif name == "progress":
            followed.progress |= {"value": frame["data"].get("value"), "max": frame["data"].get("max")}
        elif name == "progress_state":
            followed.progress["nodes"] = frame["data"].get("nodes")
        self.started(prompt_id)
        self._waiting.put(_Item(followed.job, frame=data.decode()))

    def _tap_preview(self, data: bytes) -> None:
        preview = frames.read_preview(data)
        if preview is None:
            return
        mine = list(self._followed.values())
        running = [one for one in mine if one.has_started]
        prompt_id = preview.metadata.get("prompt_id")
        followed = next((one for one in mine if one.job.prompt_id == prompt_id), None)
        if prompt_id is None and len(running) == 1:
            followed = running[0]
        if followed is None:
            return
        now = time.monotonic()
        # A PNG may be SaveImageWebsocket's: that is no preview but the picture itself.
        if preview.image_type != "image/png" and now - followed.previewed < _PREVIEW_EVERY_S:
            return
        followed.previewed = now
        self._waiting.put(_Item(followed.job, preview=data))

    def publish(self, connection: Connection) -> None:
        """Send what waits, all that there is at once; returns when nothing came for a while."""
        while True:
            try:
                batch = [self._waiting.get(timeout=_WAIT_S)]
            except Empty:
                return
            self._has_end.wait(_GATHER_S)
            self._has_end.clear()
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            self._send(connection, batch)

    def _send(self, connection: Connection, batch: Iterable[_Item | Bill]) -> None:
        """In one statement, or so many as jobs end; others for what is too long for a notification."""
        begun: list[Claimed] = []
        notices: list[Notice] = []
        for _, of_one in groupby(batch, _sort):
            several = list(of_one)
            first = several[0]
            if isinstance(first, Bill):
                telling.tell(connection, [*notices, telling.ended(first)], begun=begun, bill=first)
                begun, notices = [], []
            elif first.is_start:
                begun.append(first.job)
                notices.append(telling.began(first.job))
            else:
                notices += self._notices(connection, first.job, [item for item in several if isinstance(item, _Item)])
        if notices:
            telling.tell(connection, notices, begun=begun)

    def _notices(self, connection: Connection, job: Claimed, several: Sequence[_Item]) -> Iterator[Notice]:
        """Of frames of one job that are all previews or all texts."""
        for item in several:
            if item.preview:
                yield FRAMES, self._stored(connection, job, item.preview, is_binary=True)
        texts = [item.frame for item in several if item.frame]
        for text, fits in frames.pack(job.owner, job.client_id, job.prompt_id, texts):
            yield FRAMES, text if fits else self._stored(connection, job, text.encode(), is_binary=False)

    def _stored(self, connection: Connection, job: Claimed, content: bytes, *, is_binary: bool) -> str:
        """What tells of it."""
        row = connection.execute("INSERT INTO frames (content) VALUES (%s) RETURNING id", (content,)).fetchone()
        assert row is not None  # noqa: S101  # an INSERT returns its row
        return frames.pack_stored(job.owner, job.client_id, job.prompt_id, row[0], is_binary=is_binary)


def _sort(news: _Item | Bill) -> tuple[str, str]:
    """What may be told together."""
    if isinstance(news, Bill):
        return news.prompt_id, "end"
    return news.job.prompt_id, "start" if news.is_start else "preview" if news.preview else "text"

"""What clients hear of their jobs: ComfyUI's frames, on their way through notifications and out of a job's row. Pure.

While a job runs its worker passes frames on. What tells its end comes from the row alone, so it is told exactly when it
is so, whoever ended the job; a client that missed it finds the same in the history.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfybridge.service.database import LARGEST_NOTIFICATION, told

Frame = dict[str, Any]

PASSED_ON = frozenset({"execution_start", "execution_cached", "executing", "progress", "progress_state"})
ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})

_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4  # BinaryEventTypes in ComfyUI's protocol.py
_FORMATS = {"image/jpeg": 1, "image/png": 2}
_HEAD = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Parcel:
    """Frames of one job as they are, or what lies in the table of frames under ``stored``."""

    owner: str
    client_id: str
    prompt_id: str
    frames: Sequence[Frame] = ()
    stored: int | None = None
    is_binary: bool = False


def unpack(text: str) -> Parcel:
    return Parcel(**json.loads(text))


def pack_stored(owner: str, client_id: str, prompt_id: str, stored: int, *, is_binary: bool) -> str:
    """A notification's text."""
    job = {"owner": owner, "client_id": client_id, "prompt_id": prompt_id}
    return told({**job, "stored": stored, "is_binary": is_binary})


def pack(owner: str, client_id: str, prompt_id: str, frames: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Frames, each in JSON, in the texts of as few notifications as they fit into, unread.

    One that fits into none comes alone, as a list in JSON that is to be stored: then the second is ``False``.
    """
    head = told({"owner": owner, "client_id": client_id, "prompt_id": prompt_id})[:-1] + ',"frames":['
    taken: list[str] = []
    room = left = LARGEST_NOTIFICATION - len(head.encode()) - len("]}")
    for frame in frames:
        size = len(frame.encode()) + 1
        if taken and size > left:
            yield f"{head}{','.join(taken)}]}}", True
            taken, left = [], room
        if size > room:
            yield f"[{frame}]", False
            continue
        taken.append(frame)
        left -= size
    if taken:
        yield f"{head}{','.join(taken)}]}}", True


@dataclass(frozen=True, slots=True)
class Preview:
    """``metadata`` is empty for one that does not say whose it is."""

    metadata: Mapping[str, Any]
    image_type: str
    image: bytes


def read_preview(frame: bytes) -> Preview | None:
    """A binary frame, if it is a picture."""
    if len(frame) < _HEAD.size:
        return None
    event, number = _HEAD.unpack_from(frame)
    if event == _PREVIEW:
        image_type = next((mime for mime, code in _FORMATS.items() if code == number), "image/jpeg")
        return Preview({}, image_type, frame[_HEAD.size :])
    if event != _PREVIEW_WITH_METADATA:
        return None
    try:
        metadata = json.loads(frame[_HEAD.size : _HEAD.size + number])
    except ValueError:
        return None
    return Preview(metadata, str(metadata.get("image_type", "image/jpeg")), frame[_HEAD.size + number :])


def write_preview(preview: Preview, *, with_metadata: bool) -> bytes:
    """A binary frame for a client that did, or did not, say that it reads metadata."""
    if with_metadata and preview.metadata:
        metadata = json.dumps(preview.metadata).encode()
        return _HEAD.pack(_PREVIEW_WITH_METADATA, len(metadata)) + metadata + preview.image
    return _HEAD.pack(_PREVIEW, _FORMATS.get(preview.image_type, 1)) + preview.image


def status(remaining: int) -> Frame:
    return {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}}}


def of_end(prompt_id: str, history: Mapping[str, Any] | None) -> list[Frame]:
    """What a job's client hears at its end, before the queue's new length; nothing of one that left no history."""
    if history is None:
        return []
    meta = history.get("meta") or {}
    executed = [
        {
            "type": "executed",
            "data": {
                "node": node_id,
                "display_node": (meta.get(node_id) or {}).get("display_node", node_id),
                "output": output,
                "prompt_id": prompt_id,
            },
        }
        for node_id, output in (history.get("outputs") or {}).items()
    ]
    messages = (history.get("status") or {}).get("messages") or ()
    return executed + [{"type": name, "data": data} for name, data in messages if name in ENDS]


def last(prompt_id: str) -> Frame:
    """The frame that says that the history is written."""
    return {"type": "executing", "data": {"node": None, "prompt_id": prompt_id}}

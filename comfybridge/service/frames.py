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
    """Frames of one job: texts as they are, or what lies in the table of frames under ``stored``."""

    owner: str
    client_id: str
    prompt_id: str
    frames: Sequence[Frame] = ()
    stored: int | None = None
    is_binary: bool = False


def pack(parcel: Parcel) -> str:
    """A notification's text; whoever packs sees that it is no longer than PostgreSQL takes."""
    return told(
        {
            "owner": parcel.owner,
            "client_id": parcel.client_id,
            "prompt_id": parcel.prompt_id,
            **({"frames": list(parcel.frames)} if parcel.stored is None else {"stored": parcel.stored}),
            **({"is_binary": True} if parcel.is_binary else {}),
        }
    )


def unpack(text: str) -> Parcel:
    return Parcel(**json.loads(text))


def parcels(owner: str, client_id: str, prompt_id: str, frames: Sequence[Frame]) -> Iterator[Parcel]:
    """The frames in as few notifications as they fit into; one that fits into none comes alone."""
    taken: list[Frame] = []
    room = LARGEST_NOTIFICATION - len(pack(Parcel(owner, client_id, prompt_id)).encode())
    left = room
    for frame in frames:
        size = len(told(frame).encode()) + 1
        if taken and size > left:
            yield Parcel(owner, client_id, prompt_id, taken)
            taken, left = [], room
        taken.append(frame)
        left -= size
    if taken:
        yield Parcel(owner, client_id, prompt_id, taken)


def fits(parcel: Parcel) -> bool:
    return len(pack(parcel).encode()) <= LARGEST_NOTIFICATION


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

"""Text in, picture out: ComfyUI as a dependable function."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfybridge.api import Comfy, Done, Event, File, Job, Result, ServerState, connect
    from comfybridge.errors import (
        Cancelled,
        ComfyError,
        Failed,
        InvalidInput,
        Lost,
        NoServer,
        Rejected,
        TimedOut,
        Unavailable,
    )

__all__ = [
    "Cancelled",
    "Comfy",
    "ComfyError",
    "Done",
    "Event",
    "Failed",
    "File",
    "InvalidInput",
    "Job",
    "Lost",
    "NoServer",
    "Rejected",
    "Result",
    "ServerState",
    "TimedOut",
    "Unavailable",
    "connect",
]

_OF_API = frozenset(("Comfy", "Done", "Event", "File", "Job", "Result", "ServerState", "connect"))


def __getattr__(name: str) -> Any:
    # Only when it is used: what speaks HTTP takes a third of a second to import, and the Dify plugin has its own front.
    if name not in __all__:
        raise AttributeError(f"module 'comfybridge' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415

    found = getattr(import_module("comfybridge.api" if name in _OF_API else "comfybridge.errors"), name)
    globals()[name] = found
    return found

"""One job for a key that a caller repeats: its ids, and whether the repeated call asks for the same. Pure."""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID, uuid5

from comfybridge.filling import Inputs
from comfybridge.library import Named, Source

MOST_ATTEMPTS = 20
"""So many failed jobs of one key are remembered; the next one is refused."""

_NAMESPACE = UUID("6a8f3c0e-3a0d-4d0a-9d0b-6f1f0c2f7a55")


@dataclass(frozen=True, slots=True)
class Key:
    """``text`` is unique to an app, a user and what the caller typed; ``wishes`` stands for what is asked for.

    Of one that ``is_new`` the caller knows that nothing was submitted under it: no server needs to be asked.
    """

    text: str
    wishes: str
    is_new: bool = False

    def prompt_id(self, run: int, attempt: int) -> str:
        """The id of the call's ``run``-th prompt, after so many earlier attempts that failed."""
        return str(uuid5(_NAMESPACE, json.dumps([self.text, run, attempt])))


def key(app: str | None, user: str | None, typed: str, source: Source, inputs: Inputs, *, is_new: bool = False) -> Key:
    """The key of a call; ``app`` and ``user`` are Dify's ids where it tells them."""
    return Key(json.dumps([app, user, typed]), _wishes(source, inputs), is_new)


def _wishes(source: Source, inputs: Inputs) -> str:
    wanted: dict[str, Any] = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    # Their names are made of their contents.
    wanted["files"] = [file.name for file in inputs.files]
    asked = [source.name, source.task] if isinstance(source, Named) else source.saved
    text = json.dumps([asked, wanted], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]

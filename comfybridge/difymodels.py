"""A model of Dify's, as an app names it. Pure.

The parameters are texts: in an agent Dify leaves out a tool, without a word, one of whose model selectors is empty.
What a selector gives is understood too, as a mapping, as JSON, and as the text that Dify makes of a saved mapping.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfybridge.errors import InvalidInput

_LONGEST = 4000
_LONGEST_SHOWN = 60
# What Dify's provider ids are made of; it takes no capitals.
_ID = re.compile(r"[a-z0-9_-]+")
_PUBLISHER = "langgenius"


@dataclass(frozen=True, slots=True, kw_only=True)
class DifyModel:
    """``provider`` in full, or its bare name, which Dify completes; ``typed`` is what was written, if it was."""

    provider: str
    model: str
    typed: str = ""
    mode: str = "chat"
    completion_params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The name for people: as it was written, since that may be what is wrong with it."""
        return (self.typed or self.model)[:_LONGEST_SHOWN]


def read(values: Mapping[str, Any], name: str) -> DifyModel | None:
    """The model in the parameter ``name``; ``None`` where there is none.

    Raises:
        InvalidInput: it names no model. Whoever meant prompts to be checked, or rewritten, shall not think they are.
    """
    value = values.get(name)
    if isinstance(value, str):
        value = value.strip()
    if not value:
        return None
    chosen = value
    if isinstance(value, str) and value.startswith("{"):
        chosen = _mapping(value)
    if isinstance(chosen, Mapping):
        if not any(chosen.get(key) for key in ("provider", "model")):
            return None
        found = _selected(chosen)
    else:
        found = _typed(chosen) if isinstance(chosen, str) else None
    if found is None or not f"{found.provider}{found.model}".isprintable():
        raise InvalidInput(
            f"{name} names no model: write provider/model as Dify names them, such as openai/gpt-4o-mini, or clear the"
            " field.",
            f"{name} 未指定模型：请按 Dify 中的名称填写“提供商/模型”，例如 openai/gpt-4o-mini，或清空该项。",
        )
    return found


def _typed(text: str) -> DifyModel | None:
    """``provider/model``, or ``publisher/plugin/provider/model``; the model's name may have slashes of its own.

    The provider is in full where three ids and a model follow each other and the first is Dify's own publisher, or the
    plugin is named as its provider, as most are: ``openai/a/b/c`` is the model ``a/b/c`` of ``openai``.
    """
    parts = [part.strip() for part in text.split("/")]
    if not all(parts):
        return None
    is_full = len(parts) > 3 and (parts[0].lower() == _PUBLISHER or parts[1].lower() == parts[2].lower())  # noqa: PLR2004
    ids, name = (parts[:3], parts[3:]) if is_full else (parts[:1], parts[1:])
    ids = [each.lower() for each in ids]
    if not name or not all(map(_ID.fullmatch, ids)) or ids == [_PUBLISHER]:
        return None
    return DifyModel(provider="/".join(ids), model="/".join(name), typed=text)


def _selected(chosen: Mapping[str, Any]) -> DifyModel | None:
    provider, model = chosen.get("provider"), chosen.get("model")
    if not (isinstance(provider, str) and provider and isinstance(model, str) and model):
        return None
    mode, params = chosen.get("mode"), chosen.get("completion_params")
    return DifyModel(
        provider=provider,
        model=model,
        mode=mode if isinstance(mode, str) and mode else "chat",
        completion_params=params if isinstance(params, Mapping) else {},
    )


def _mapping(text: str) -> Any:
    """A selector's mapping as text: JSON, or Python's notation, which Dify makes of a mapping for a text parameter."""
    if len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None

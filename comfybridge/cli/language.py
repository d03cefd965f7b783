"""Chinese or English, as the environment says."""

import os
from collections.abc import Mapping

_NAMES = ("LC_ALL", "LC_MESSAGES", "LANG")


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    return next((environ[name] for name in _NAMES if environ.get(name)), "").lower().startswith("zh")


def say(english: str, chinese: str) -> str:
    """The one of the two that this terminal's user reads."""
    return chinese if is_chinese() else english

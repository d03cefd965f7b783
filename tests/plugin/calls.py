"""How a call of the tool ends, read for tests."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

from comfybridge.simulator.answer import Answer

Call = Callable[..., Answer]


@dataclass(frozen=True)
class Failure:
    """What Dify shows when the tool fails."""

    outcome: str
    #: None where the first line says "-".
    prompt_id: str | None
    english: str
    chinese: str


Fails = Callable[..., Failure]


def read_failure(message: str) -> Failure:
    match = re.fullmatch(r"outcome=([a-z_]+) prompt_id=(\S+)\n(.+)\n(.+)", message)
    assert match, message
    outcome, prompt_id, english, chinese = match.groups()
    assert not has_chinese(english.partition("'")[0]), "the English sentence comes first"
    assert has_chinese(chinese), "the Chinese sentence comes second"
    return Failure(outcome, None if prompt_id == "-" else prompt_id, english, chinese)


def has_chinese(text: str) -> bool:
    return re.search("[\u4e00-\u9fff]", text) is not None


def get(url: str) -> Any:
    with urlopen(url, timeout=10) as response:  # noqa: S310 (the simulator's address)
        return json.load(response)

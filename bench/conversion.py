"""How long a workflow takes to convert, and how many come out other than ComfyUI's own front end makes them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from bench.table import Aim, Row, Section
from comfybridge.convert import convert
from comfybridge.errors import InvalidInput
from comfybridge.workflow import Definitions
from tests.core import pairs
from tests.core.pairs import NEWEST, PINNED, Pair, as_server_reads, as_server_runs

_MOST_S, _NONE = Aim(0.005, of_ratio=False), Aim(0.0, of_ratio=False)

Reading: TypeAlias = Callable[[Mapping[str, Any], Definitions], Any]


def measure() -> Section:
    """Convert every recorded pair as it is and without repairs, with the first option of each choice."""
    definitions = pairs.definitions()
    found = {folder: list(pairs.pairs(folder)) for folder in ("pinned", "newest", "synthetic")}
    started = time.perf_counter()
    for saved in found.values():
        for pair in saved:
            _converted(pair, definitions, repair=True)
    each_s = (time.perf_counter() - started) / sum(map(len, found.values()))
    rows = [Row(label="Time per workflow, mean", ours=each_s, other=None, unit="ms", aim=_MOST_S)]
    for repair in (False, True):
        suffix = "with repairs" if repair else "without repairs"
        for folder, reading, versions in (
            ("pinned", as_server_reads, (PINNED,)),
            ("newest", as_server_runs, (PINNED, NEWEST)),
            ("synthetic", as_server_reads, (PINNED,)),
        ):
            other = [_differs(pair, definitions, reading, versions, repair=repair) for pair in found[folder]]
            aim = _NONE if folder == "pinned" or (folder == "newest" and not repair) else None
            label = f"{folder.capitalize()} ({len(other)}), differs {suffix}"
            rows.append(Row(label=label, ours=sum(other) / len(other), other=None, unit="%", aim=aim))
    notes = (
        "pinned, synthetic: other for the server than the prompt of front end 1.35.9; newest: runs other than that of",
        "1.35.9 and of 1.58.1. What differs is named with its reason in tests/core/test_convert_pairs.py.",
    )
    return Section("Conversion", "", rows, notes)


def _differs(pair: Pair, definitions: Definitions, reading: Reading, versions: Sequence[str], *, repair: bool) -> bool:
    prompt = _converted(pair, definitions, repair=repair)
    theirs = [reading(pair.prompts[version], definitions) for version in versions if version in pair.prompts]
    return prompt is None or reading(prompt, definitions) not in theirs


def _converted(pair: Pair, definitions: Definitions, *, repair: bool) -> dict[str, dict[str, Any]] | None:
    try:
        return convert(pair.workflow, definitions, repair=repair, choose=lambda options: options[0]).prompt
    except InvalidInput:
        return None

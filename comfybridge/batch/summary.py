"""How a batch went: outcomes, and how long rows took by template and server. Pure."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True)
class Times:
    """Rows of one template on one server that succeeded; seconds of a row from its submission to its files."""

    template: str
    server: str
    rows: int
    median_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """``outcomes`` counts rows by how they ended."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    times: Sequence[Times] = ()

    @property
    def rows(self) -> int:
        return sum(self.outcomes.values())

    @property
    def success_rate(self) -> float:
        """From 0 to 1; 1 where there was nothing to do."""
        return self.outcomes.get(SUCCEEDED, 0) / self.rows if self.rows else 1.0

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "success_rate": round(self.success_rate, 4),
            "outcomes": dict(self.outcomes),
            "files": self.files,
            "times": [
                {
                    "template": each.template,
                    "server": each.server,
                    "rows": each.rows,
                    "median_seconds": round(each.median_s, 3),
                    "p95_seconds": round(each.p95_s, 3),
                }
                for each in self.times
            ],
        }


def summary(entries: Iterable[Mapping[str, Any]]) -> Summary:
    """Count the lines of a manifest, each row once."""
    outcomes, files = Counter[str](), 0
    seconds: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        outcomes[str(entry["outcome"])] += 1
        files += len(entry.get("files") or ())
        if entry["outcome"] == SUCCEEDED:
            where = (str(entry.get("template") or ""), str(entry.get("server") or ""))
            seconds.setdefault(where, []).append(float(entry.get("seconds") or 0))
    times = [
        Times(template, server, len(took), statistics.median(took), percentile(took, 0.95))
        for (template, server), took in sorted(seconds.items())
    ]
    return Summary(dict(sorted(outcomes.items(), key=lambda each: -each[1])), files, times)


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of all is not above."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]

"""Medians, percentiles, and how far a ratio of medians can be trusted."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

_RESAMPLES = 1000
_FEWEST = 5


@dataclass(slots=True)
class Samples:
    """The same thing measured on both sides."""

    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the ratio of medians, by bootstrap; ``None`` for too few samples."""
        if min(len(self.ours), len(self.other)) < _FEWEST:
            return None
        chance = random.Random(0)  # noqa: S311  # nothing secret
        ratios = sorted(
            statistics.median(chance.choices(self.ours, k=len(self.ours)))
            / statistics.median(chance.choices(self.other, k=len(self.other)))
            for _ in range(_RESAMPLES)
        )
        return ratios[_RESAMPLES // 40], ratios[-_RESAMPLES // 40]


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def p95(values: Sequence[float]) -> float | None:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else None

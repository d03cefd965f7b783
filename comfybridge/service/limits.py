"""How long jobs may run: all of them, and those of a template. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds; ``of_all`` is ``None`` for what workers have as their own, ``of_template`` by the name before @."""

    of_all: float | None = None
    of_template: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, float]]) -> "Limits":
        """From templates and seconds, an empty name standing for all; of several for one name the last."""
        known = dict(pairs)
        return cls(of_all=known.pop("", None), of_template=known)

    def of(self, template: str) -> float | None:
        return self.of_template.get(template.partition("@")[0], self.of_all)

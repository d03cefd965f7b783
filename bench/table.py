"""The figures as one table for people, and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.samples import Samples, median, p95

_UNITS = {
    "ms": (1000.0, "{:,.1f}"),
    "s": (1.0, "{:,.2f}"),
    "MiB": (1 / 2**20, "{:,.1f}"),
    "bytes": (1.0, "{:,.0f}"),
    "%": (100.0, "{:,.1f}"),
    "": (1.0, "{:,.4g}"),
}
"""Factor from the base unit (seconds, bytes, pieces), and format."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be at most: the ratio where ``of_ratio``, else ours."""

    limit: float
    of_ratio: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure on both sides, in seconds, bytes or pieces; ``None`` where there is none."""

    label: str
    ours: float | None
    other: float | None
    unit: str = ""
    interval: tuple[float, float] | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.other if self.ours is not None and self.other else None

    @property
    def is_met(self) -> bool | None:
        """``None`` without an aim, or without the figure."""
        figure = self.ratio if self.aim is not None and self.aim.of_ratio else self.ours
        return figure <= self.aim.limit if self.aim is not None and figure is not None else None


@dataclass(frozen=True, slots=True)
class Section:
    """Rows with a heading; ``other`` names what ours is beside. The notes stand below the rows."""

    title: str
    other: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def middle(label: str, samples: Samples, unit: str) -> Row:
    return Row(label=label, ours=median(samples.ours), other=median(samples.other), unit=unit)


def spread(
    label: str, samples: Samples, unit: str, aim: Aim | None = None, *, are_independent: bool = True
) -> list[Row]:
    """Two rows: median and 95th percentile; no interval for samples that hang together."""
    return [
        Row(
            label=f"{label}, median",
            ours=median(samples.ours),
            other=median(samples.other),
            unit=unit,
            interval=samples.interval() if are_independent else None,
            aim=aim,
        ),
        Row(label=f"{label}, p95", ours=p95(samples.ours), other=p95(samples.other), unit=unit),
    ]


def as_text(sections: Iterable[Section]) -> str:
    lines: list[tuple[str, ...]] = []
    for section in sections:
        lines += [("",), (section.title, "ours", section.other, "ratio", "95 %", "aim", "")]
        lines += [_cells(row) for row in section.rows]
        lines += [(f"  {note}",) for note in section.notes]
    table = [line for line in lines if len(line) > 1]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(_aligned(line, widths) for line in lines)


def as_json(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """In the base units: seconds, bytes, pieces."""
    return [
        {
            "section": section.title,
            "label": row.label,
            "unit": {"ms": "s", "MiB": "bytes"}.get(row.unit, row.unit),
            "ours": row.ours,
            section.other: row.other,
            "ratio": row.ratio,
            "ratio_95": row.interval,
            "aim": row.aim and {"at_most": row.aim.limit, "of": "ratio" if row.aim.of_ratio else "ours"},
            "is_met": row.is_met,
        }
        for section in sections
        for row in section.rows
    ]


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" [{row.unit}]" if row.unit else ""
    interval = f"{row.interval[0]:.2f}-{row.interval[1]:.2f}" if row.interval else ""
    verdict = {None: "", True: "ok", False: "MISSED"}[row.is_met]
    return (
        f"  {row.label}{unit}",
        _figure(row.ours, row.unit),
        _figure(row.other, row.unit),
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        interval,
        _aim(row),
        verdict,
    )


def _figure(value: float | None, unit: str) -> str:
    factor, form = _UNITS[unit]
    return form.format(value * factor) if value is not None else "-"


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    if row.aim.of_ratio:
        return f"<= {row.aim.limit:g} x"
    factor, _ = _UNITS[row.unit]
    return f"<= {row.aim.limit * factor:g}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    if len(line) == 1:
        return line[0]
    label, *cells, verdict = line
    padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True))
    return "  ".join((label.ljust(widths[0]), *padded, verdict)).rstrip()

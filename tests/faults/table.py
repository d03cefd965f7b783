"""The suite as a table of the README, written from the scenarios."""

from collections.abc import Sequence
from pathlib import Path

from tests.faults.play import Scenario, Stage

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- faults: written by make faults ARGS=--write -->", "<!-- /faults -->"
_HEADS = {
    Stage.BEFORE: "before submitting",
    Stage.SUBMITTING: "while submitting",
    Stage.QUEUED: "while queued",
    Stage.RUNNING: "while running",
    Stage.FINISHED: "before fetching",
    Stage.DOWNLOADING: "while fetching",
}


def table(scenarios: Sequence[Scenario]) -> str:
    """One row for each fault, one column for each stage, how the call ends in each cell."""
    rows: dict[str, dict[Stage, str]] = {}
    for scenario in scenarios:
        rows.setdefault(scenario.fault, {})[scenario.stage] = scenario.wanted.value
    lines = ["| What goes wrong | " + " | ".join(_HEADS.values()) + " |", "|---" * (len(_HEADS) + 1) + "|"]
    lines += [
        f"| {fault} | " + " | ".join(ends.get(stage, "") for stage in _HEADS) + " |" for fault, ends in rows.items()
    ]
    return "\n".join(lines)


def written(readme: str) -> str:
    """The table between the two marks of a README."""
    return readme.split(BEGIN, 1)[1].split(END, 1)[0].strip()


def write(scenarios: Sequence[Scenario]) -> None:
    readme = README.read_text(encoding="utf-8")
    head, rest = readme.split(BEGIN, 1)
    new = f"{head}{BEGIN}\n\n{table(scenarios)}\n\n{END}{rest.split(END, 1)[1]}"
    README.write_text(new, encoding="utf-8")

"""``docs/cli.md`` and ``docs/python.md`` say what is so."""

import re
from pathlib import Path

import comfybridge
from comfybridge.api.wishes import NAMES
from comfybridge.cli import exits
from comfybridge.cli.commands import COMMANDS
from comfybridge.cli.naming import FIELDS

DOCS = Path(__file__).parents[2] / "docs"


def test_table_of_exit_statuses_is_that_of_the_code() -> None:
    told = (DOCS / "cli.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| (\d+) \| (.*) \|$", told, re.MULTILINE)
    assert {int(status): sentence for status, sentence in rows} == {
        status: english for status, (english, _) in exits.TABLE.items()
    }


def test_every_command_and_field_is_told_of() -> None:
    told = (DOCS / "cli.md").read_text(encoding="utf-8")

    assert [name for name in COMMANDS if f"`{name}`" not in told] == []
    assert [field for field in FIELDS if f"`{{{field}}}`" not in told] == []


def test_every_keyword_and_method_is_told_of() -> None:
    told = (DOCS / "python.md").read_text(encoding="utf-8")

    assert [name for name in NAMES if not re.search(rf"\b{name}\b", told)] == []
    methods = [name for name in vars(comfybridge.Comfy) if not name.startswith("_") and name != "close"]
    assert [name for name in methods if f"{name}(" not in told] == []


def test_every_outcome_has_an_exit_status() -> None:
    errors = [getattr(comfybridge, name) for name in comfybridge.__all__]
    errors = [each for each in errors if isinstance(each, type) and issubclass(each, comfybridge.ComfyError)]

    made = [each("x", "x", server="http://x") for each in errors if each is not comfybridge.ComfyError]

    assert {type(error).__name__: exits.of_error(error) for error in made} == {
        "Cancelled": 5, "Failed": 4, "InvalidInput": 2, "Lost": 7, "NoServer": 8, "Rejected": 3, "TimedOut": 6,
        "Unavailable": 8,
    }  # fmt: skip


def test_several_statuses_are_one() -> None:
    assert [exits.of_several(each) for each in ([], [0, 0], [4, 4], [0, 4], [4, 6])] == [0, 0, 4, 1, 1]

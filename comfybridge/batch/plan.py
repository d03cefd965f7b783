"""What a table asks for, looked through before anything is sent."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfybridge import library
from comfybridge.batch import rows
from comfybridge.batch.columns import meaning, meanings
from comfybridge.batch.located import located
from comfybridge.batch.rows import Row
from comfybridge.batch.sets import ShotSet
from comfybridge.batch.sets import rows as shots_of
from comfybridge.batch.tables import Raw, Table
from comfybridge.batch.things import Things
from comfybridge.errors import InvalidInput
from comfybridge.template import AUTO, Template

_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """``rows`` reads them anew each time; ``mistaken`` are the first of the ``bad`` ones."""

    rows: Callable[[], Iterator[Row]]
    total: int
    bad: int
    mistaken: Sequence[Row]


def of_table(table: Table, given: Mapping[str, Any], templates: Sequence[Template] = ()) -> Plan:
    """Look through a table; ``given`` are parameters for rows that have none of their own.

    ``templates`` are the caller's own. Files that rows name are looked for beside the table, then here.

    Raises:
        InvalidInput: it cannot be used as a whole, or no row of it can.
    """
    others = [column for column in table.columns if column and meaning(column) is None]
    named = _named(table, given, templates) if others else ()
    return _plan(table.path.name, lambda: table, meanings(table.columns, named, given), given, table.path.parent)


def of_set(shown: ShotSet, things: Things, given: Mapping[str, Any]) -> Plan:
    """Look through what a set makes of things; raises InvalidInput where it makes nothing."""
    keys = dict.fromkeys(key for shot in shown.shots for key in shot.parameters)
    columns = dict.fromkeys(("prompt", "negative_prompt", "size", "seed", "name", "template", "model", *keys))
    same = {column: column for column in columns}
    return _plan(shown.name, lambda: shots_of(shown, things()), same, given)


def _plan(
    called: str,
    raws: Callable[[], Iterable[Raw]],
    columns: Mapping[str, str],
    given: Mapping[str, Any],
    folder: Path = Path(),
) -> Plan:
    def read() -> Iterator[Row]:
        return (located(row, folder) for row in rows.read(raws(), columns, given))

    total = bad = 0
    mistaken: list[Row] = []
    for row in read():
        total += 1
        if row.mistake is not None:
            bad += 1
            mistaken += [row] if bad <= _MOST_TOLD else []
    if not total:
        raise InvalidInput(
            f"{called} has no rows: there is nothing to make.", f"{called} 没有数据行：没有要生成的内容。"
        )
    return Plan(read, total, bad, mistaken)


def _named(table: Table, given: Mapping[str, Any], templates: Sequence[Template]) -> Collection[str] | None:
    """The values that the table's templates know by name; ``None`` where a workflow on the server is among them."""
    column = next((each for each in table.columns if meaning(each) == "template"), None)
    default = str(given.get("template") or AUTO)
    chosen = {str(raw.values.get(column) or default).strip() for raw in table} if column else {default}
    found: dict[str, None] = {}
    for name in sorted(chosen):
        template = library.find(name, templates)
        if template is None and name != AUTO:
            return None
        for each in library.choices("text2image") if template is None else [template]:
            found.update(dict.fromkeys(each.roles({}).named))
    return found

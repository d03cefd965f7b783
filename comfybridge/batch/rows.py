"""One row of a table as what a generation takes, or what is wrong with it and in which column. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfybridge import reading
from comfybridge.batch.columns import NAME, PARAMETERS
from comfybridge.batch.tables import Mistake, Raw
from comfybridge.errors import InvalidInput
from comfybridge.pictures import FORMATS

_LONGEST_TIMEOUT_S = 86400.0
_LIST = (";", "；", "|", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``parameters`` are keywords of ``generate``. ``mistake`` says why there are none.

    ``content`` stands for what is asked for: the same for the same wishes, wherever in the table they are, but counted
    where several rows ask for the same.
    """

    number: int
    line: int
    name: str
    parameters: Mapping[str, Any]
    content: str
    mistake: Mistake | None = None


def read(raws: Iterable[Raw], meanings: Mapping[str, str], given: Mapping[str, Any]) -> Iterator[Row]:
    """Check each row; ``given`` are parameters of all rows, where a row has nothing else."""
    seen = Counter[bytes]()
    for raw in raws:
        name, parameters, mistake = "", dict[str, Any](), raw.mistake
        try:
            cells = {meanings[column]: value for column, value in raw.values.items() if column in meanings}
            columns = {meant: column for column, meant in meanings.items()}
            name = reading.text(cells, NAME).strip()
            if mistake is None:
                parameters = _parameters({**given, **cells_that_say(cells)}, columns)
        except _WrongError as exc:
            mistake = exc.mistake
        wishes = {**parameters, NAME: name} if mistake is None else dict(raw.values)
        digest = hashlib.sha256(json.dumps(wishes, sort_keys=True, default=str).encode()).digest()[:12]
        seen[digest] += 1
        copy = f"-{seen[digest]}" if seen[digest] > 1 else ""
        yield Row(
            number=raw.number,
            line=raw.line,
            name=name,
            parameters=parameters,
            content=digest.hex() + copy,
            mistake=mistake,
        )


def cells_that_say(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Without the empty ones, which leave a parameter as it is."""
    return {name: value for name, value in cells.items() if value is not None and str(value).strip()}


class _WrongError(Exception):
    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.en)
        self.mistake = mistake


def _parameters(cells: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        if name in cells:
            found[name] = _checked(name, columns.get(name, name), cells, check)
    # Together, since an aspect ratio gives the side that is not there.
    sides = [name for name in ("size", "width", "height") if name in cells]
    if sides:
        _checked(sides[0], columns.get(sides[0], sides[0]), cells, lambda values, _: reading.size(values))
    own = {name: value for name, value in cells.items() if name not in PARAMETERS and name not in (NAME, "values")}
    if own or cells.get("values"):
        found["values"] = {**cells.get("values", {}), **own}
    if not reading.text(found, "prompt").strip() and not found.get("images"):
        raise _WrongError(Mistake(columns.get("prompt", "prompt"), "prompt is empty", "提示词为空"))
    return found


def _checked(name: str, column: str, cells: Mapping[str, Any], check: Callable[[Mapping[str, Any], str], Any]) -> Any:
    try:
        return check(cells, name)
    except InvalidInput as exc:
        raise _WrongError(Mistake(column, str(exc).rstrip("."), exc.zh.rstrip("。"))) from exc


def _seed(values: Mapping[str, Any], _name: str) -> int | None:
    return reading.seed(values)


def _loras(values: Mapping[str, Any], name: str) -> str:
    reading.loras(values)
    return reading.text(values, name)


def _size(values: Mapping[str, Any], name: str) -> str:
    return reading.text(values, name).strip()


def _files(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Paths and addresses with semicolons or bars between them: commas are common in both."""
    value = values[name]
    if isinstance(value, list | tuple):
        return tuple(str(each) for each in value)
    listed = str(value)
    for mark in _LIST[1:]:
        listed = listed.replace(mark, _LIST[0])
    return tuple(each.strip() for each in listed.split(_LIST[0]) if each.strip())


def _word(values: Mapping[str, Any], name: str) -> str:
    return reading.text(values, name).strip()


def _whole(limits: tuple[int, int]) -> Callable[[Mapping[str, Any], str], Any]:
    return lambda values, name: reading.whole(values, name, limits)


def _number(limits: tuple[float, float]) -> Callable[[Mapping[str, Any], str], Any]:
    return lambda values, name: reading.number(values, name, limits)


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "prompt": reading.text,
    "negative_prompt": reading.text,
    "template": _word,
    "seed": _seed,
    "size": _size,
    "width": _whole(reading.SIDE_LIMITS),
    "height": _whole(reading.SIDE_LIMITS),
    "count": _whole(reading.COUNT_LIMITS),
    "steps": _whole(reading.STEPS_LIMITS),
    "cfg": _number(reading.CFG_LIMITS),
    "sampler": _word,
    "scheduler": _word,
    "model": _word,
    "loras": _loras,
    "images": _files,
    "masks": _files,
    "seconds": _number(reading.SECONDS_LIMITS),
    "denoise": _number((0, 1)),
    "format": lambda values, name: reading.choice(values, name, FORMATS, default=FORMATS[0]),
    "keep_metadata": lambda values, name: reading.flag(values, name, default=True),
    "timeout": _number((1, _LONGEST_TIMEOUT_S)),
}

"""Tables as files: CSV, TSV, JSON Lines, or one prompt a line. A row at a time, however long the file is."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfybridge.batch.encoding import encoding_of
from comfybridge.errors import InvalidInput

SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".txt")
_JSON_LINES, _TABS, _LINES = (".jsonl", ".ndjson"), (".tsv", ".tab"), ".txt"
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a row; ``column`` is empty where it is wrong as a whole."""

    column: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as the file has it: ``number`` counts rows, ``line`` lines, both from 1."""

    number: int
    line: int
    values: Mapping[str, Any]
    mistake: Mistake | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A file with rows; ``columns`` in the order of the file, for JSON Lines in the order that they turn up."""

    path: Path
    columns: tuple[str, ...]
    _encoding: str = field(repr=False)
    _delimiter: str = field(default=",", repr=False)

    def __iter__(self) -> Iterator[Raw]:
        """Read the file from its beginning.

        Raises:
            InvalidInput: a quote is never closed.
        """
        return _read(self.path, self._encoding, self._delimiter, self.columns)


def open_table(path: Path) -> Table:
    """Look what kind of table a file is and which columns it has.

    Raises:
        InvalidInput: it cannot be read, or is no table.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"{path.name} must end in {', '.join(SUFFIXES)}: save a spreadsheet as CSV UTF-8.",
            f"{path.name} 的扩展名应为 {'、'.join(SUFFIXES)}：电子表格请另存为“CSV UTF-8”。",
        )
    try:
        encoding = encoding_of(path)
        if suffix in _JSON_LINES:
            return Table(path, _keys(path, encoding), encoding)
        if suffix == _LINES:
            return Table(path, ("prompt",), encoding)
        delimiter = "\t" if suffix in _TABS else _delimiter(path, encoding)
        with _opened(path, encoding) as file:
            header: Any = next((cells for _, cells in _records(file, delimiter)), [])
    except OSError as exc:
        raise unreadable(path, exc) from exc
    if isinstance(header, Mistake):
        raise InvalidInput(f"{path.name}, line 1: {header.en}.", f"{path.name} 第 1 行：{header.zh}。")
    columns = [name.strip() for name in header]
    while columns and not columns[-1]:
        columns.pop()
    if not columns:
        raise _empty(path)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InvalidInput(f"{path.name} has the column {twice[0]} twice.", f"{path.name} 中有重复的列 {twice[0]}。")
    return Table(path, tuple(columns), encoding, delimiter)


def unreadable(path: Path, exc: OSError) -> InvalidInput:
    return InvalidInput(f"{path} cannot be read: {exc.strerror}.", f"无法读取 {path}：{exc.strerror}。")


def _empty(path: Path) -> InvalidInput:
    return InvalidInput(f"{path.name} is empty: there is nothing to make.", f"{path.name} 为空：没有要生成的内容。")


def _read(path: Path, encoding: str, delimiter: str, columns: tuple[str, ...]) -> Iterator[Raw]:
    with _opened(path, encoding) as file:
        suffix = path.suffix.lower()
        if suffix in _JSON_LINES:
            yield from _json_rows(file)
        elif suffix == _LINES:
            lines = ((number, line.strip()) for number, line in enumerate(file, start=1))
            filled = ((number, text) for number, text in lines if text)
            for number, (line, text) in enumerate(filled, start=1):
                yield Raw(number, line, {"prompt": text})
        else:
            yield from _records_as_rows(file, delimiter, columns)


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    with path.open(encoding=encoding, newline="") as file:
        # A mark that an encoding without one leaves there.
        if file.read(1) != "\ufeff":
            file.seek(0)
        yield file


def _records_as_rows(file: io.TextIOWrapper, delimiter: str, columns: tuple[str, ...]) -> Iterator[Raw]:
    records = _records(file, delimiter)
    next(records, None)
    number = 0
    for line, record in records:
        if isinstance(record, Mistake):
            number += 1
            yield Raw(number, line, {}, record)
            continue
        # One prompt a line, with commas and no quotes.
        cells = [delimiter.join(record)] if len(columns) == 1 else record
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        values = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
        stray = [cell for name, cell in zip(columns, cells, strict=False) if not name and cell.strip()]
        beyond = [cell for cell in cells[len(columns) :] if cell.strip()]
        mistake = _too_many(len(cells), len(columns), [*stray, *beyond][0]) if stray or beyond else None
        yield Raw(number, line, values, mistake)


def _too_many(cells: int, columns: int, first: str) -> Mistake:
    shown = first.strip()[:40]
    return Mistake(
        "",
        f"the cell '{shown}' has no column ({cells} cells, {columns} columns): put text with commas into double quotes",
        f"单元格“{shown}”没有对应的列（{cells} 个单元格，{columns} 列）：含逗号的文本请加双引号",
    )


def _records(file: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, Any]]:
    """The line that each record begins on, and its cells or a Mistake; without Excel's line ``sep=;``."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    began = 1
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            # The longest cell that the reader takes has 128 Ki characters.
            if "end of data" in str(exc) or "field limit" in str(exc):
                raise InvalidInput(
                    f"A double quote opened on line {began} is never closed.", f"第 {began} 行的双引号没有结束。"
                ) from exc
            yield began, _badly_quoted()
        else:
            if not (began == 1 and delimiter.join(record).lower().startswith("sep=")):
                yield began, record
        began = reader.line_num + 1


def _badly_quoted() -> Mistake:
    return Mistake(
        "",
        "a quoted cell goes on after its closing quote: write a quote within it twice",
        "带引号的单元格在结束引号之后还有内容：单元格内的引号请写两次",
    )


def _delimiter(path: Path, encoding: str) -> str:
    """What separates the header's cells: Excel writes semicolons where a comma is the decimal point."""
    with _opened(path, encoding) as file:
        line = file.readline()
    if line.lower().startswith("sep=") and line[4:5] in _DELIMITERS:
        return line[4]
    inside, counts = False, dict.fromkeys(_DELIMITERS, 0)
    for letter in line:
        inside ^= letter == '"'
        if letter in counts and not inside:
            counts[letter] += 1
    return max(_DELIMITERS, key=lambda each: counts[each])


def _json_rows(file: io.TextIOWrapper) -> Iterator[Raw]:
    filled = ((line, text) for line, text in enumerate(file, start=1) if text.strip())
    for number, (line, text) in enumerate(filled, start=1):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as exc:
            english, chinese = f"not JSON: {exc.msg}, character {exc.colno}", f"不是有效的 JSON：第 {exc.colno} 个字符"
            yield Raw(number, line, {}, Mistake("", english, chinese))
            continue
        except RecursionError:
            yield Raw(number, line, {}, Mistake("", "not JSON: nested too deeply", "JSON 嵌套过深"))
            continue
        if isinstance(values, str):
            values = {"prompt": values}
        if isinstance(values, dict):
            yield Raw(number, line, values)
        else:
            yield Raw(number, line, {}, Mistake("", "not a JSON object", "不是 JSON 对象"))


def _keys(path: Path, encoding: str) -> tuple[str, ...]:
    """All keys of the file's objects; InvalidInput where no line is one."""
    keys: dict[str, None] = {}
    first: Raw | None = None
    with _opened(path, encoding) as file:
        for raw in _json_rows(file):
            first = first or raw
            keys.update(dict.fromkeys(raw.values))
    if first is None:
        raise _empty(path)
    if not keys:
        what = first.mistake or Mistake("", "it has no values", "没有内容")
        raise InvalidInput(
            f"{path.name} holds no rows: line {first.line}: {what.en}.",
            f"{path.name} 中没有数据：第 {first.line} 行：{what.zh}。",
        )
    return tuple(keys)

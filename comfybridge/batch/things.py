"""What sets are made from: products, topics and briefs, in files of any form or as text."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from comfybridge.batch import tables
from comfybridge.batch.encoding import encoding_of
from comfybridge.batch.sets import ShotSet, shot_set
from comfybridge.errors import InvalidInput

Things: TypeAlias = Callable[[], Iterable[tables.Raw]]
"""Reads them from their beginning, as often as it is called."""

_SETS = Path(__file__).parent.parent / "sets"
_YAML, _JSON, _TEXT = (".yaml", ".yml"), ".json", (".txt", ".md")


def find_set(name: str) -> ShotSet:
    """A set that comes with the package, or one of the caller's own by the path of its file."""
    own = Path(name)
    path = own if own.suffix.lower() in _YAML else _SETS / f"{name}.yaml"
    try:
        text = path.read_text(encoding="utf-8-sig")
        return shot_set(yaml.safe_load(text), path.stem)
    except OSError as exc:
        raise tables.unreadable(path, exc) from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{path} is no YAML: {_line(exc)}.", f"{path} 不是有效的 YAML：{_line(exc)}。") from exc


def things(given: Sequence[str], shown: ShotSet) -> Things:
    """Read a file with things, or take what is given as the things themselves.

    Raises:
        InvalidInput: the file cannot be read, or holds nothing that a set can be made from.
    """
    path = Path(given[0]) if len(given) == 1 else None
    if path is None or not is_file(path):
        if path is not None and path.suffix.lower() in (*tables.SUFFIXES, *_YAML, _JSON):
            raise InvalidInput(f"There is no file {path}.", f"文件 {path} 不存在。")
        return _listed(_texts(given, shown))
    suffix = path.suffix.lower()
    if suffix in _TEXT and (shown.whole_text or suffix not in tables.SUFFIXES):
        text = _text(path)
        return _listed(_texts([text] if shown.whole_text else text.splitlines(), shown))
    if suffix in (*_YAML, _JSON):
        return _listed(_parsed(path, suffix, shown))
    table = tables.open_table(path)
    _check_columns(path, table.columns, shown)
    if suffix in _TEXT:
        first = shown.fields[0].name
        return lambda: (tables.Raw(raw.number, raw.line, {first: raw.values["prompt"]}) for raw in table)
    return lambda: table


def _check_columns(path: Path, columns: Sequence[str], shown: ShotSet) -> None:
    if path.suffix.lower() in _TEXT:
        return
    for each in shown.fields:
        if each.needed and not any(each.is_called(column) for column in columns):
            raise InvalidInput(
                f"{path.name} has no column {each.name}. The columns are: {', '.join(filter(None, columns))}.",
                f"{path.name} 缺少 {each.name} 列。现有的列：{'、'.join(filter(None, columns))}。",
            )


def _listed(values: Iterable[Mapping[str, Any]]) -> Things:
    found = [tables.Raw(number, number, each) for number, each in enumerate(values, start=1)]
    if not found:
        raise InvalidInput("There is nothing to make a set from.", "没有可用于生成素材集的内容。")
    return lambda: found


def _texts(given: Iterable[str], shown: ShotSet) -> Iterator[dict[str, Any]]:
    return ({shown.fields[0].name: text.strip()} for text in given if text.strip())


def _parsed(path: Path, suffix: str, shown: ShotSet) -> Iterator[Mapping[str, Any]]:
    text = _text(path)
    try:
        values = json.loads(text) if suffix == _JSON else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as exc:
        raise InvalidInput(
            f"{path.name} cannot be read: {_line(exc)}.", f"无法读取 {path.name}：{_line(exc)}。"
        ) from exc
    if isinstance(values, Mapping):
        lists = [
            each for each in values.values() if isinstance(each, list) and any(isinstance(e, Mapping) for e in each)
        ]
        values = lists[0] if len(lists) == 1 else [values]
    listed = values if isinstance(values, list) else [values]
    for number, each in enumerate(listed, start=1):
        if isinstance(each, Mapping):
            yield {str(name): value for name, value in each.items()}
        elif isinstance(each, str):
            yield {shown.fields[0].name: each}
        else:
            raise InvalidInput(
                f"{path.name}: entry {number} is neither an object nor a text.",
                f"{path.name}：第 {number} 项既不是对象也不是文本。",
            )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding=encoding_of(path)).removeprefix("\ufeff")
    except OSError as exc:
        raise tables.unreadable(path, exc) from exc


def is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        # A long text is no path that the system would look for.
        return False


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())

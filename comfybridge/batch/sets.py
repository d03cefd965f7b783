"""Sets: the pictures that one thing needs, each with its size and its words; things times shots make rows. Pure."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from string import Formatter
from typing import Any, TypeVar

from comfybridge.batch import columns
from comfybridge.batch.naming import slug
from comfybridge.batch.tables import Mistake, Raw
from comfybridge.errors import InvalidInput

_SHOT_PARAMETERS = tuple(name for name in columns.PARAMETERS if name not in ("prompt", "size", "seed"))
_PIXELS = re.compile(r"\d+\s*[x×*]\s*\d+", re.IGNORECASE)
_MOST_SEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What is known of a thing; ``also`` are other names that tables have for it."""

    name: str
    needed: bool = False
    default: str = ""
    also: Sequence[str] = ()

    def is_called(self, name: str) -> bool:
        plain = _plain(name)
        return plain == _plain(self.name) or plain in map(_plain, self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture of each thing, ``seeds`` times; with ``each`` once for every entry of that field, where it has some.

    ``words`` fill places of the prompt, before what is known of the thing. ``parameters`` are those of a generation.
    """

    name: str
    size: str
    prompt: str = ""
    seeds: int = 1
    each: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotSet:
    """``prompt`` is that of shots without one of their own. The first field names the thing.

    ``whole_text`` says that plain text is one thing, and not one on each line.
    """

    name: str
    fields: Sequence[Field]
    shots: Sequence[Shot]
    title: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    whole_text: bool = False


def shot_set(values: Any, name: str) -> ShotSet:
    """Read what a set's YAML holds, strictly.

    Raises:
        InvalidInput: a key that is unknown or missing, or a place in a prompt that nothing fills.
    """
    if not isinstance(values, Mapping):
        raise _wrong(name, "it must be a mapping with fields and shots", "应为包含 fields 和 shots 的映射")
    listed_fields, shots = values.get("fields"), values.get("shots")
    if not isinstance(listed_fields, list) or not isinstance(shots, list) or not listed_fields or not shots:
        raise _wrong(name, "fields and shots must be lists with something in them", "fields 和 shots 必须是非空列表")
    found = _strictly(
        ShotSet,
        {
            "name": name,
            **values,
            "fields": [_strictly(Field, each, name) for each in listed_fields],
            "shots": [_shot(each, name) for each in shots],
        },
        name,
    )
    known = {each.name for each in found.fields}
    for shot in found.shots:
        _check(found, shot, known)
    return found


def only(shown: ShotSet, names: Sequence[str]) -> ShotSet:
    """The set with some of its shots; raises InvalidInput for one that it has not."""
    known = [shot.name for shot in shown.shots]
    if absent := [name for name in names if name not in known]:
        raise _wrong(
            shown.name,
            f"there is no shot {absent[0]}, only {', '.join(known)}",
            f"没有名为 {absent[0]} 的 shot，可用的有 {'、'.join(known)}",
        )
    return replace(shown, shots=[shot for shot in shown.shots if shot.name in names])


def rows(shown: ShotSet, things: Iterable[Raw]) -> Iterator[Raw]:
    """The rows of all shots of all things, thing by thing; a thing that lacks something needed is one bad row."""
    number = 0
    for thing in things:
        known, mistake = _known(shown, thing)
        if mistake is not None:
            number += 1
            yield Raw(number, thing.line, {**thing.values}, mistake)
            continue
        for shot in shown.shots:
            for values in _pictures(shown, shot, known):
                number += 1
                yield Raw(number, thing.line, values)


def _pictures(shown: ShotSet, shot: Shot, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    listed = known.get(shot.each) if shot.each else None
    entries = _entries(listed)
    called = slug(str(known[shown.fields[0].name]), 40)
    runs: list[Any] = list(entries) or [None] * shot.seeds
    for run, entry in enumerate(runs):
        words = {**known, **shot.words} if entry is None else {**known, **shot.words, shot.each: entry}
        numbered = f"_{slug(entry, 20)}" if entry else f"_{run + 1}" if len(runs) > 1 else ""
        values: dict[str, Any] = {
            # Whatever the grid of the model: the size is what the picture is wanted for.
            "size": f"{shot.size}!" if _PIXELS.fullmatch(shot.size.strip()) else shot.size,
            "negative_prompt": known.get("negative_prompt", ""),
            **shot.parameters,
            "prompt": _filled(shot.prompt or shown.prompt, words),
            "name": f"{called}_{shot.name}{numbered}",
        }
        if str(known.get("seed", "")).strip().isdecimal():
            values["seed"] = int(str(known["seed"])) + run
        for name in ("template", "model"):
            if known.get(name):
                values[name] = known[name]
        yield values


def _known(shown: ShotSet, thing: Raw) -> tuple[dict[str, Any], Mistake | None]:
    """What is known of a thing, under the names that the set has for it."""
    known: dict[str, Any] = {each.name: each.default for each in shown.fields}
    for name, value in thing.values.items():
        meant = next((each.name for each in shown.fields if each.is_called(name)), None)
        if meant is None and columns.meaning(name) in ("template", "model"):
            meant = columns.meaning(name)
        if meant is not None and value is not None and str(value).strip():
            known[meant] = value
    absent = next((each.name for each in shown.fields if each.needed and not str(known[each.name]).strip()), None)
    if thing.mistake is not None or absent is None:
        return known, thing.mistake
    return known, Mistake(absent, f"{absent} is missing", f"缺少 {absent}")


def _entries(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value if str(each).strip()]
    return [each.strip() for each in re.split(r"[,，、;；|\n]", str(value or "")) if each.strip()]


def _filled(prompt: str, words: Mapping[str, Any]) -> str:
    """The prompt with its places filled; those that stay empty leave no comma behind."""
    said = {
        name: ", ".join(_entries(value)) if isinstance(value, list) else str(value) for name, value in words.items()
    }
    parts = (" ".join(part.split()) for part in prompt.format_map(said).split(","))
    return ", ".join(part for part in parts if part)


def _shot(values: Any, name: str) -> Shot:
    if not isinstance(values, Mapping):
        raise _wrong(name, "each shot must be a mapping", "每个 shot 都必须是映射")
    parameters = {key: value for key, value in values.items() if key in _SHOT_PARAMETERS}
    own = {key: value for key, value in values.items() if key not in parameters}
    if isinstance(own.get("size"), int):
        # YAML 1.1 reads 16:9 as minutes and seconds.
        own["size"] = "{}:{}".format(*divmod(own["size"], 60))
    return _strictly(Shot, {**own, "parameters": parameters}, name)


def _check(shown: ShotSet, shot: Shot, known: set[str]) -> None:
    prompt = shot.prompt or shown.prompt
    if not prompt:
        raise _wrong(shown.name, f"the shot {shot.name} has no prompt", f"shot {shot.name} 没有 prompt")
    if not isinstance(shot.seeds, int) or not 1 <= shot.seeds <= _MOST_SEEDS:
        raise _wrong(
            shown.name,
            f"seeds of the shot {shot.name} must be 1 to {_MOST_SEEDS}",
            f"shot {shot.name} 的 seeds 应为 1 到 {_MOST_SEEDS}",
        )
    try:
        places = [place for _, place, _, _ in Formatter().parse(prompt) if place is not None]
    except ValueError as exc:
        raise _wrong(shown.name, f"the prompt of {shot.name}: {exc}", f"{shot.name} 的 prompt：{exc}") from exc
    for place in (*places, *filter(None, [shot.each])):
        if place not in known | set(shot.words):
            near = difflib.get_close_matches(place, sorted(known | set(shot.words)), n=1)
            meant = f": did you mean {near[0]}?" if near else ""
            raise _wrong(
                shown.name,
                f"nothing fills {{{place}}} in the shot {shot.name}{meant}",
                f"shot {shot.name} 中的 {{{place}}} 没有对应的字段",
            )


_Record = TypeVar("_Record")


def _strictly(record: type[_Record], values: Any, name: str) -> _Record:
    if not isinstance(values, Mapping):
        raise _wrong(name, f"'{values}' must be a mapping", f"“{values}”必须是映射")
    known = [each.name for each in fields(record)]  # type: ignore[arg-type]  # every record here is a dataclass
    if unknown := sorted(set(map(str, values)) - set(known)):
        raise _wrong(
            name,
            f"{', '.join(unknown)}: no such key; there are {', '.join(known)}",
            f"没有名为 {'、'.join(unknown)} 的键；可用的有 {'、'.join(known)}",
        )
    try:
        return record(**values)
    except TypeError as exc:
        raise _wrong(name, str(exc).partition("() ")[2] or str(exc), "缺少必需的键") from exc


def _wrong(name: str, english: str, chinese: str) -> InvalidInput:
    return InvalidInput(f"The set {name}: {english}.", f"素材集 {name}：{chinese}。")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()

"""Which version of a template each caller gets: ``rollout.yaml`` as values. Pure."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

import yaml
from yaml import MappingNode, Node, ScalarNode

from comfybridge.nearest import find_name

FILE = "rollout.yaml"

Sentence = tuple[str, str]
"""In English and in Chinese."""

WINDOW = 50
"""Of how many runs a version is judged, where its threshold does not say."""

_WHOLE = 100.0
_FIELDS = ("stable", "share", "keys", "threshold")
_LIMITS = ("success", "seconds", "window", "at_least")
_AT_LEAST = 20
_LONGEST_WINDOW = 10_000


class BadRollout(Exception):
    """What is wrong with the file, all of it."""

    def __init__(self, problems: list[Sentence]) -> None:
        super().__init__("\n".join(english for english, _ in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a version may not fall below over its latest ``window`` runs, of which there are ``at_least`` so many.

    ``success`` is a share of the runs, ``seconds`` a multiple of what the stable version takes.
    """

    success: float | None = None
    seconds: float | None = None
    window: int = WINDOW
    at_least: int = _AT_LEAST


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The rules of one template: ``share`` in percent by version, ``keys`` from an API key's name to a version."""

    stable: str
    share: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    threshold: Threshold | None = None

    @cached_property
    def digest(self) -> str:
        """The same for the same rules, however they are written."""
        rules = {**asdict(self), "share": list(self.share.items())}
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The versions that are on trial."""
        tried = (*(version for version, share in self.share.items() if share > 0), *self.keys.values())
        return tuple(version for version in dict.fromkeys(tried) if version != self.stable)

    def assigned(self, template: str, *, key: str, owner: str, user: str, barred: Collection[str] = ()) -> str:
        """The version of a caller; always the same one while the rules are the same. ``barred`` are rolled back."""
        version = self.keys.get(key) or self._by_share(_place(template, owner, user))
        return self.stable if version in barred else version

    def _by_share(self, place: float) -> str:
        # From both ends in turn, so that of two shares either can grow without taking from the other.
        low, high = 0.0, _WHOLE
        for number, (version, share) in enumerate(self.share.items()):
            if number % 2 == 0:
                if low <= place < low + share:
                    return version
                low += share
            else:
                if high - share <= place < high:
                    return version
                high -= share
        return self.stable


def _place(template: str, owner: str, user: str) -> float:
    """Where a caller stands between 0 and 100, elsewhere for each template."""
    digest = hashlib.sha256(json.dumps([template, owner, user]).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48 * _WHOLE


def parse(text: str, versions: Mapping[str, Collection[str]]) -> dict[str, Rollout]:
    """The rules by template; ``versions`` are those that there are of each.

    Raises:
        BadRollout: with line and field of everything that is wrong, and what is allowed there.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        why = str(getattr(exc, "problem", None) or "it cannot be read")
        raise BadRollout([_at(line, "", f"this is no YAML: {why}", f"不是有效的 YAML：{why}")]) from exc
    reader = _Reader(versions)
    rollouts = reader.rollouts(root)
    if reader.problems:
        raise BadRollout(reader.problems)
    return rollouts


def _at(line: int, place: str, english: str, chinese: str) -> Sentence:
    return (
        f"{FILE}, line {line}{place and ', '}{place}: {english}.",
        f"{FILE} 第 {line} 行{place and '，'}{place}：{chinese}。",
    )


class _Reader:
    """Walks over the nodes of the file, since only they know their lines, and collects what is wrong."""

    def __init__(self, versions: Mapping[str, Collection[str]]) -> None:
        self._versions = versions
        self.problems: list[Sentence] = []

    def rollouts(self, root: Node | None) -> dict[str, Rollout]:
        found: dict[str, Rollout] = {}
        for name, node in self._entries(root, "").items():
            if name not in self._versions:
                near = ", ".join(find_name(name, sorted(self._versions)).nearest)
                english, chinese = (f"; near are {near}", f"；相近的有：{near}") if near else ("", "")
                self._wrong(node, name, f"there is no template of this name{english}", f"没有此模板{chinese}")
            elif (rollout := self._rollout(name, node)) is not None:
                found[name] = rollout
        return found

    def _rollout(self, name: str, node: Node) -> Rollout | None:
        entries = self._known(node, name, _FIELDS)
        if "stable" not in entries:
            some = ", ".join(sorted(self._versions[name], key=int))
            self._wrong(node, name, f"stable is missing: one of the versions {some}", f"缺少 stable：可选版本 {some}")
            return None
        stable = self._version(entries["stable"], name, f"{name}.stable")
        share: dict[str, float] = {}
        for version, value in self._entries(entries.get("share"), f"{name}.share").items():
            place = f"{name}.share.{version}"
            if version == stable:
                self._wrong(value, place, "the stable version gets what is left", "稳定版本自动获得其余比例")
            elif self._is_version(value, version, name, f"{name}.share"):
                share[version] = self._number(value, place, 0, _WHOLE)
        if sum(share.values()) > _WHOLE:
            self._wrong(entries["share"], f"{name}.share", "the shares are more than 100 together", "比例之和超过 100")
        keys = {
            key: self._version(value, name, f"{name}.keys.{key}")
            for key, value in self._entries(entries.get("keys"), f"{name}.keys").items()
        }
        threshold = self._threshold(name, entries["threshold"]) if "threshold" in entries else None
        return Rollout(stable=stable, share=share, keys=keys, threshold=threshold)

    def _threshold(self, name: str, node: Node) -> Threshold:
        place = f"{name}.threshold"
        entries = self._known(node, place, _LIMITS)
        if not {"success", "seconds"} & entries.keys():
            self._wrong(node, place, "say success, seconds, or both", "请填写 success 或 seconds，或两者")
        success = self._number(entries["success"], f"{place}.success", 0, 1) if "success" in entries else None
        seconds = self._number(entries["seconds"], f"{place}.seconds", 0.01, 1000) if "seconds" in entries else None
        window = self._count(entries.get("window"), f"{place}.window", WINDOW, _LONGEST_WINDOW)
        default = min(_AT_LEAST, window)
        at_least = self._count(entries.get("at_least"), f"{place}.at_least", default, window)
        return Threshold(success=success, seconds=seconds, window=window, at_least=at_least)

    def _known(self, node: Node, place: str, known: Collection[str]) -> dict[str, Node]:
        entries = self._entries(node, place)
        for name in entries.keys() - set(known):
            allowed = ", ".join(known)
            self._wrong(
                entries[name], f"{place}.{name}", f"no such field; there are {allowed}", f"没有此字段；可用：{allowed}"
            )
        return {name: value for name, value in entries.items() if name in known}

    def _entries(self, node: Node | None, place: str) -> dict[str, Node]:
        if node is None or (isinstance(node, ScalarNode) and node.tag.endswith(":null")):
            return {}
        if not isinstance(node, MappingNode):
            self._wrong(node, place, "this must be a map, as in 'name: value'", "应为映射，如“名称: 值”")
            return {}
        entries: dict[str, Node] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            if not name:
                self._wrong(key, place, "a name must be a text", "名称应为文本")
            elif name in entries:
                self._wrong(key, place, f"{name} stands here twice", f"{name} 出现了两次")
            else:
                entries[name] = value
        return entries

    def _version(self, node: Node, name: str, place: str) -> str:
        text = node.value if isinstance(node, ScalarNode) else ""
        self._is_version(node, text, name, place)
        return str(text)

    def _is_version(self, node: Node, text: str, name: str, place: str) -> bool:
        if text in self._versions[name]:
            return True
        some = ", ".join(sorted(self._versions[name], key=int))
        self._wrong(node, place, f"there is no version '{text}'; there are {some}", f"没有版本“{text}”；现有：{some}")
        return False

    def _number(self, node: Node, place: str, least: float, most: float) -> float:
        try:
            number = float(node.value) if isinstance(node, ScalarNode) else -1.0
        except ValueError:
            number = -1.0
        if not least <= number <= most:
            allowed = f"{least:g} – {most:g}"
            self._wrong(node, place, f"this must be a number, {allowed}", f"应为数字，{allowed}")
            return least
        return number

    def _count(self, node: Node | None, place: str, default: int, most: int) -> int:
        if node is None:
            return default
        text = node.value if isinstance(node, ScalarNode) else ""
        if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= most):
            self._wrong(node, place, f"this must be a whole number, 1 – {most}", f"应为整数，1 – {most}")
            return default
        return int(text)

    def _wrong(self, node: Node, place: str, english: str, chinese: str) -> None:
        self.problems.append(_at(node.start_mark.line + 1, place, english, chinese))

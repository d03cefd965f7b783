"""The templates of a fleet, as files: those of this package, and a folder with ``name@version.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from comfybridge import convert, library, preflight, versioned
from comfybridge.errors import InvalidInput
from comfybridge.graph import Definitions
from comfybridge.service.rollout import FILE, BadRollout, Rollout, Sentence, parse
from comfybridge.template import Template, listed, parse_ref
from comfybridge.versioned import NAME, Mark

Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]

Files: TypeAlias = Mapping[str, tuple[str, int]]
"""By name, the text and when it was written, in milliseconds."""


class BadTemplates(Exception):
    """What is wrong with a folder, all of it."""

    def __init__(self, problems: list[Sentence]) -> None:
        super().__init__("\n".join(english for english, _ in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """``content`` is what is served; ``modified`` in milliseconds, 0 for one of this package."""

    name: str
    number: str
    content: bytes
    saved: Mapping[str, Any] = field(repr=False)
    bindings: Mapping[str, str | list[str]] = field(default_factory=dict)
    modified: int = 0

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def is_built_in(self) -> bool:
        return self.modified == 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Templates:
    """All versions by template and number, and the rules by template: one for each that has several."""

    versions: Mapping[str, Mapping[str, Version]]
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """What tells the present rules of each template from others."""
        return {name: rollout.digest for name, rollout in self.rollouts.items()}

    def stable(self, name: str) -> str:
        rollout = self.rollouts.get(name)
        return rollout.stable if rollout is not None else next(iter(self.versions[name]))

    def knows(self, full_name: str) -> bool:
        name, _, number = full_name.partition("@")
        return number in self.versions.get(name, {})


def built_in() -> Templates:
    """The newest version of each template of this package."""
    newest = {each.base_name: each for each in library.templates() if library.find(each.base_name) is each}
    versions = {
        name: {
            str(each.version): Version(
                name=name,
                number=str(each.version),
                content=json.dumps(each.prompt, ensure_ascii=False).encode(),
                saved=each.prompt,
            )
        }
        for name, each in newest.items()
    }
    return Templates(versions=versions)


def signature(folder: Path) -> Signature | None:
    """What changes with the files; ``None`` while Git writes, or where the folder cannot be listed."""
    try:
        if any((above / ".git" / "index.lock").exists() for above in (folder, *folder.parents)):
            return None
        stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.suffix in (".json", ".yaml")]
    except OSError:
        return None
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)


def load(folder: Path) -> Files:
    """The texts of a folder: workflows, their sidecars, and the rules.

    Raises:
        BadTemplates: one cannot be read.
    """
    try:
        workflows = [path for path in folder.glob("*.json") if not path.name.startswith(".")]
        beside = [*(path.with_suffix(".yaml") for path in workflows), folder / FILE]
        paths = [*workflows, *(path for path in beside if path.exists())]
        return {
            path.name: (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns // 1_000_000)
            for path in sorted(paths)
        }
    except (OSError, UnicodeDecodeError) as exc:
        name = getattr(exc, "filename", None) or str(folder)
        why = type(exc).__name__
        raise BadTemplates([(f"{name} cannot be read: {why}.", f"无法读取 {name}：{why}。")]) from exc


def read(files: Files) -> Templates:
    """All of a folder's files, or nothing.

    Raises:
        BadTemplates: with everything that is wrong.
    """
    problems: list[Sentence] = []
    versions = {name: dict(of) for name, of in built_in().versions.items()}
    spelled = {name.casefold(): name for name in versions}
    for file in (file for file in files if file.endswith(".json")):
        try:
            version = _version(file, files)
        except BadTemplates as exc:
            problems += exc.problems
            continue
        known = versions.setdefault(version.name, {})
        if spelled.setdefault(version.name.casefold(), version.name) != version.name:
            other = spelled[version.name.casefold()]
            problems.append(_bad(file, f"there is {other}, too", f"已有 {other}，仅大小写不同"))
        elif version.number in known:
            problems.append(_bad(file, *_taken(version)))
        else:
            known[version.number] = version
    # The rules would miss what could not be read.
    rollouts = _rollouts(files, versions, problems) if not problems else {}
    if problems:
        raise BadTemplates(problems)
    return Templates(versions=versions, rollouts=rollouts)


def converted(version: Version, definitions: Definitions) -> Template:
    """The version as these servers would run it.

    Raises:
        InvalidInput: it cannot be converted.
    """
    prompt = convert.convert(version.saved, definitions).prompt
    return Template(name=version.full_name, prompt=prompt, bindings=version.bindings, is_users=True)


def lacks(template: Template, definitions: Definitions) -> list[Sentence]:
    """What keeps servers with these node classes from running it, but for files that callers give."""
    prompt = preflight.repair(template.prompt, definitions).prompt
    found = [
        (problem.message_en, problem.message_zh)
        for problem in preflight.check(prompt, definitions, has_key=True)
        if problem.code not in preflight.INPUT_FILE
    ]
    bound = [(role, ref) for role, refs in template.bindings.items() for ref in listed(refs)]
    return found + [
        (f"bindings: {role} is {ref}, but the graph has no such input.", f"bindings：{role} 指向不存在的输入 {ref}。")
        for role, ref in bound
        if parse_ref(ref).input not in prompt.get(parse_ref(ref).node_id, {}).get("inputs", {})
    ]


def _version(file: str, files: Files) -> Version:
    stem = file.removesuffix(".json")
    name, at, number = stem.partition("@")
    number = number if at else "1"
    if not NAME.fullmatch(name) or not versioned.is_version(number):
        english = "its name must be letters, digits, '.', '_' and '-', then '@' and a whole number: poster@2.json"
        chinese = "文件名应为字母、数字、“.”、“_”、“-”，后接“@”和整数，如 poster@2.json"
        raise BadTemplates([_bad(file, english, chinese)])
    text, modified = files[file]
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BadTemplates([_bad(file, f"it is no JSON: {exc}", f"不是有效的 JSON：{exc}")]) from exc
    try:
        convert.class_types(saved)
    except InvalidInput as exc:
        raise BadTemplates([_bad(file, str(exc).rstrip("."), exc.zh.rstrip("。"))]) from exc
    if not _is_bare(saved):
        english = "it must be a workflow as the editor saves or exports it, with nothing around it"
        raise BadTemplates([_bad(file, english, "应为编辑器保存或导出的工作流本身，外面不能再包一层")])
    sidecar = f"{stem}.yaml"
    try:
        beside = files.get(sidecar, ("", 0))[0]
        bindings = library.bindings_in(beside, sidecar, None if versioned.is_editors(saved) else saved)
    except ValueError as exc:
        raise BadTemplates([_bad(sidecar, str(exc), str(exc))]) from exc
    bound = {role: refs if isinstance(refs, str) else listed(refs) for role, refs in bindings.items()}
    marked = versioned.marked(saved, Mark(name=name, version=number, bindings=bound))
    return Version(
        name=name,
        number=number,
        content=json.dumps(marked, ensure_ascii=False).encode(),
        saved=versioned.unmarked(saved),
        bindings=bound,
        modified=max(modified, 1),
    )


def _is_bare(saved: Mapping[str, Any]) -> bool:
    return versioned.is_editors(saved) or all(
        isinstance(node, Mapping) and "class_type" in node for node in saved.values()
    )


def _rollouts(
    files: Files, versions: Mapping[str, Mapping[str, Version]], problems: list[Sentence]
) -> dict[str, Rollout]:
    try:
        rollouts = parse(files.get(FILE, ("", 0))[0], versions)
    except BadRollout as exc:
        problems += exc.problems
        return {}
    for name, of in versions.items():
        if len(of) > 1 and name not in rollouts:
            some = ", ".join(sorted(of, key=int))
            problems.append(
                (
                    f"{FILE}: {name} has the versions {some}: say which one is stable.",
                    f"{FILE}：{name} 有版本 {some}：请指定稳定版本（stable）。",
                )
            )
    return rollouts


def _bad(file: str, english: str, chinese: str) -> Sentence:
    return f"{file}: {english}.", f"{file}：{chinese}。"


def _taken(version: Version) -> Sentence:
    return (
        f"there is a {version.full_name} already, in this folder or among the templates of this package",
        f"{version.full_name} 已存在于此文件夹或内置模板中",
    )

"""manifest.yaml against Dify's rules, and the texts in Dify's languages that all YAML files have.

The daemon's are the struct tags of its PluginDeclaration and what ManifestValidate asks for.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from scripts.checks import CALL, INSTALLATION, MARKETPLACE, PROJECT

LANGUAGES = ("en_US", "zh_Hans", "ja_JP", "pt_BR")
# fmt: off
TAGS = frozenset({
    "search", "image", "videos", "weather", "finance", "design", "travel", "social", "news", "medical", "productivity",
    "education", "business", "entertainment", "utilities", "agent", "rag", "other", "trigger",
})
# fmt: on
LONGEST_TEXT = 1023
_LONGEST_ICON_NAME = 128
#: What this plugin may ask for, and no more.
_PERMISSIONS = {"model": frozenset({"enabled", "llm", "moderation"})}


def problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the manifest."""
    patterns = {
        "version": r"\d{1,4}\.\d{1,4}\.\d{1,4}",
        "type": "plugin",
        # Installation wants lower case, though packaging lets more through.
        "author": r"[a-z0-9_-]{1,64}",
        "name": r"[a-z0-9_-]{1,128}",
    }
    for key, pattern in patterns.items():
        if not re.fullmatch(pattern, str(manifest.get(key, ""))):
            yield f"manifest.yaml: {key} is {manifest.get(key)!r}, it must match {pattern} {INSTALLATION}"
    if re.search("dify|langgenius", str(manifest.get("author"))):
        yield f"manifest.yaml: author must not contain 'dify' or 'langgenius' {MARKETPLACE}"
    for key in ("label", "description"):
        yield from i18n_problems(f"manifest.yaml: {key}", manifest.get(key))
    yield from _creation_problems(manifest.get("created_at"))
    yield from _resource_problems(manifest.get("resource") or {})
    for key in ("icon", "icon_dark"):
        name = str(manifest.get(key, ""))
        if "/" in name or len(name) > _LONGEST_ICON_NAME:
            yield f"manifest.yaml: {key} is {name!r}, it must be a file name of _assets/ {INSTALLATION}"
    if not manifest.get("icon"):
        yield f"manifest.yaml: icon names no file of _assets/ {INSTALLATION}"

    plugins = manifest.get("plugins") or {}
    if not plugins.get("tools"):
        yield f"manifest.yaml: plugins.tools names no provider {INSTALLATION}"
    elif len(plugins["tools"]) > 1:
        yield f"manifest.yaml: plugins.tools names {len(plugins['tools'])} providers, one would stay {INSTALLATION}"
    for kind in sorted(set(plugins) - {"tools", "endpoints"}):
        yield f"manifest.yaml: plugins.{kind} cannot go together with tools {INSTALLATION}"
    for tag in manifest.get("tags") or []:
        if tag not in TAGS:
            yield f"manifest.yaml: {tag!r} is none of Dify's tags {INSTALLATION}"
    if not manifest.get("privacy"):
        yield f"manifest.yaml: privacy names no page {MARKETPLACE}"
    if (repo := manifest.get("repo")) is not None and not urlsplit(str(repo)).hostname:
        yield f"manifest.yaml: repo is {repo!r}, it must be an address {INSTALLATION}"
    yield from _meta_problems(manifest.get("meta") or {})


def i18n_problems(where: str, texts: object) -> Iterator[str]:
    """What is wrong with a text in Dify's languages; Dify wants English alone, this project all four."""
    if not isinstance(texts, dict):
        yield f"{where} must be a mapping of languages to texts {INSTALLATION}"
        return
    for language in LANGUAGES:
        text = texts.get(language)
        if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_TEXT:
            who = INSTALLATION if text is not None or language == "en_US" else PROJECT
            yield f"{where} needs a text of 1 to {LONGEST_TEXT} characters in {language} {who}"
    for language in sorted(set(texts) - set(LANGUAGES)):
        yield f"{where}: {language} is none of Dify's languages, {', '.join(LANGUAGES)} {PROJECT}"


def permission_problems(manifest: Mapping[str, Any], calls: Mapping[str, str]) -> Iterator[str]:
    """What the permissions lack for the kinds of model that are asked, with the place of each, or have too much."""
    asked = ((manifest.get("resource") or {}).get("permission") or {}).get("model") or {}
    for kind, where in calls.items():
        if not (asked.get("enabled") and asked.get(kind)):
            yield f"manifest.yaml: resource.permission.model lacks {kind}, which {where} uses {CALL}"
    for kind in sorted(set(asked) - {"enabled", *calls}):
        if asked[kind]:
            yield f"manifest.yaml: resource.permission.model.{kind} is used by no source {PROJECT}"


def _creation_problems(created: object) -> Iterator[str]:
    if not isinstance(created, (datetime, date)):
        yield f"manifest.yaml: created_at is {created!r}, it must be like 2026-11-20T00:00:00Z {INSTALLATION}"
        return
    day = created.date() if isinstance(created, datetime) else created
    if day > datetime.now(UTC).date():
        yield f"manifest.yaml: created_at, {day}, is in the future {MARKETPLACE}"


def _resource_problems(resource: Mapping[str, Any]) -> Iterator[str]:
    memory = resource.get("memory")
    if not isinstance(memory, int) or memory <= 0:
        yield f"manifest.yaml: resource.memory is {memory!r}, it must be a number of bytes {INSTALLATION}"
    for name, parts in (resource.get("permission") or {}).items():
        wanted = sorted(part for part, is_on in (parts or {}).items() if is_on)
        for part in wanted:
            if part not in _PERMISSIONS.get(name, ()):
                yield f"manifest.yaml: resource.permission.{name}.{part} is more than this plugin needs {PROJECT}"


def _meta_problems(meta: Mapping[str, Any]) -> Iterator[str]:
    if not meta.get("arch") or not set(meta["arch"]) <= {"amd64", "arm64"}:
        yield f"manifest.yaml: meta.arch is {meta.get('arch')!r}, it must list amd64, arm64 or both {INSTALLATION}"
    if meta.get("version") != "0.0.2":
        yield f"manifest.yaml: meta.version is {meta.get('version')!r}, the specification is 0.0.2 {INSTALLATION}"
    runner = meta.get("runner") or {}
    if runner != {"language": "python", "version": "3.12", "entrypoint": "main"}:
        yield f"manifest.yaml: meta.runner is {runner!r}, it must be python, '3.12' in quotes, main {INSTALLATION}"
    least = str(meta.get("minimum_dify_version", "1.9.0"))
    if not re.fullmatch(r"\d+\.\d+\.\d+", least):
        yield f"manifest.yaml: meta.minimum_dify_version is {least!r}, it must be like 1.9.0 {INSTALLATION}"

# ruff: noqa: INP001 (a script; the folder is no package)
"""Pack the plugin: dist/<name>-<version>.difypkg, byte for byte the same from the same files.

Leaves out what .difyignore says, as Dify's packager reads it, and checks what Dify's daemon would only refuse at
installation. ``python scripts/package.py [PLUGIN_DIR [DIST_DIR]]``
"""

import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from pathspec import GitIgnoreSpec

#: MAX_PLUGIN_PACKAGE_SIZE, measured uncompressed by the packager.
MAX_PACKAGE_BYTES = 50 * 1024 * 1024
REQUIRED_FILES = ("manifest.yaml", "main.py", "requirements.txt", "README.md", "PRIVACY.md", "LICENSE")
LANGUAGES = ("en_US", "zh_Hans", "ja_JP", "pt_BR")
# fmt: off
TAGS = frozenset({
    "search", "image", "videos", "weather", "finance", "design", "travel", "social", "news", "medical", "productivity",
    "education", "business", "entertainment", "utilities", "agent", "rag", "other", "trigger",
})
# fmt: on
#: The earliest time a zip archive can hold.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The plugin cannot be packed; the text says why, one reason a line."""


def main() -> None:
    plugin = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    dist = Path(sys.argv[2]) if len(sys.argv) > 2 else plugin / "dist"  # noqa: PLR2004 (the second argument)
    try:
        package = pack(plugin, dist)
    except PackageError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{package} ({package.stat().st_size / 1024:.0f} KiB)\n")


def pack(plugin: Path, dist: Path) -> Path:
    """Write the package into ``dist`` and return its path."""
    names = packed_files(plugin)
    manifest: dict[str, Any] = yaml.safe_load((plugin / "manifest.yaml").read_text(encoding="utf-8"))
    problems = list(manifest_problems(manifest)) + list(file_problems(plugin, names, manifest))
    if problems:
        raise PackageError("\n".join(problems))

    dist.mkdir(parents=True, exist_ok=True)
    package = dist / f"{manifest['name']}-{manifest['version']}.difypkg"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on whatever system it is packed
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (plugin / name).read_bytes())
    return package


def packed_files(plugin: Path) -> list[str]:
    """Return the names of the files that .difyignore leaves, sorted, with forward slashes.

    Dify's packager drops what any line matches; "!" lines never bring anything back, so they are not read.
    """
    lines = (plugin / ".difyignore").read_text(encoding="utf-8").splitlines()
    ignored = GitIgnoreSpec.from_lines(line for line in lines if not line.startswith("!"))
    return sorted(_walk(plugin, plugin, ignored))


def _walk(root: Path, folder: Path, ignored: GitIgnoreSpec) -> Iterator[str]:
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            if not ignored.match_file(f"{name}/"):
                yield from _walk(root, path, ignored)
        elif not ignored.match_file(name):
            yield name


def manifest_problems(manifest: dict[str, Any]) -> Iterator[str]:
    """What Dify's daemon, its SDK or its marketplace would refuse in the manifest, each as a sentence."""
    patterns = {
        "version": r"\d{1,4}\.\d{1,4}\.\d{1,4}",
        "type": "plugin",
        # Installation wants lower case, though packaging lets more through.
        "author": r"[a-z0-9_-]{1,64}",
        "name": r"[a-z0-9_-]{1,128}",
    }
    for key, pattern in patterns.items():
        if not re.fullmatch(pattern, str(manifest.get(key, ""))):
            yield f"manifest.yaml: {key} is {manifest.get(key)!r}, it must match {pattern}"
    if re.search("dify|langgenius", str(manifest.get("author"))):
        yield "manifest.yaml: author must not contain 'dify' or 'langgenius'"

    for key in ("label", "description"):
        yield from i18n_problems(f"manifest.yaml: {key}", manifest.get(key))
    if not isinstance(manifest.get("created_at"), (datetime, date)):
        yield f"manifest.yaml: created_at is {manifest.get('created_at')!r}, it must be like 2026-11-20T00:00:00Z"

    memory = (manifest.get("resource") or {}).get("memory")
    if not isinstance(memory, int) or memory <= 0:
        yield f"manifest.yaml: resource.memory is {memory!r}, it must be a number of bytes"
    if not (manifest.get("plugins") or {}).get("tools"):
        yield "manifest.yaml: plugins.tools names no provider"
    for tag in manifest.get("tags") or []:
        if tag not in TAGS:
            yield f"manifest.yaml: {tag!r} is none of Dify's tags"

    meta = manifest.get("meta") or {}
    if not meta.get("arch") or not set(meta["arch"]) <= {"amd64", "arm64"}:
        yield f"manifest.yaml: meta.arch is {meta.get('arch')!r}, it must list amd64, arm64 or both"
    if meta.get("version") != "0.0.2":
        yield f"manifest.yaml: meta.version is {meta.get('version')!r}, the specification this follows is 0.0.2"
    runner = meta.get("runner") or {}
    if runner != {"language": "python", "version": "3.12", "entrypoint": "main"}:
        yield f"manifest.yaml: meta.runner is {runner!r}, it must be python, '3.12' in quotes, main"


def i18n_problems(where: str, texts: object) -> Iterator[str]:
    """What is wrong with a text in Dify's four languages."""
    if not isinstance(texts, dict):
        yield f"{where} must be a mapping of languages to texts"
        return
    for language in LANGUAGES:
        text = texts.get(language)
        if not isinstance(text, str) or not 1 <= len(text) <= 1023:  # noqa: PLR2004 (the daemon's limit)
            yield f"{where} needs a text of 1 to 1023 characters in {language}"


def file_problems(plugin: Path, names: list[str], manifest: dict[str, Any]) -> Iterator[str]:
    """What is missing from the package, or too much for it."""
    present = set(names)
    wanted = {*REQUIRED_FILES, *((manifest.get("plugins") or {}).get("tools") or [])}
    wanted |= {f"_assets/{manifest[key]}" for key in ("icon", "icon_dark") if manifest.get(key)}
    if not manifest.get("icon"):
        yield "manifest.yaml: icon names no file of _assets/"
    for name in sorted(wanted):
        if name not in present:
            yield f"{name} is missing, or .difyignore leaves it out"
        elif not (plugin / name).stat().st_size:
            yield f"{name} is empty"
    size = sum((plugin / name).stat().st_size for name in names)
    if size > MAX_PACKAGE_BYTES:
        yield f"the package would hold {size / 1024 / 1024:.0f} MB, Dify takes 50; see .difyignore"


if __name__ == "__main__":
    main()

"""The package's files: what has to be there, what must not, the icons, the README, the requirements, the size."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # the icons are this project's own, and a DOCTYPE is refused before

from scripts.checks import INSTALLATION, MARKETPLACE, PACKAGER, PROJECT, START

#: MAX_PLUGIN_PACKAGE_SIZE, measured uncompressed by the packager.
MAX_PACKAGE_BYTES = 50 * 1024 * 1024
#: PLUGIN_MAX_PACKAGE_SIZE of an API whose administrator has set nothing.
ADVISED_PACKAGE_BYTES = 15 * 1024 * 1024
ADVISED_README_WORDS = 500
_REQUIRED = {
    "manifest.yaml": PACKAGER,
    "main.py": START,
    "requirements.txt": INSTALLATION,
    "README.md": MARKETPLACE,
    "PRIVACY.md": MARKETPLACE,
    "LICENSE": PROJECT,
}
#: What must not be in it, and why.
_UNWANTED = {
    "pyproject.toml": f"would be installed instead of requirements.txt {INSTALLATION}",
    "uv.lock": f"would be installed instead of requirements.txt {INSTALLATION}",
    ".env": f"holds secrets, and tells the SDK how to start {START}",
}
_MOST_ICON_BYTES = 64 * 1024
_LEAST_SDK = (0, 5, 0)
_SVG = "{http://www.w3.org/2000/svg}"
# Chinese, Japanese and Korean letters, with their punctuation and full-width forms.
_CJK = re.compile("[\u2e80-\u303f\u3040-\u30ff\u3100-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w,]+\])?\s*((==|>=|<=|~=|!=|<|>)\s*[\w.*]+\s*,?\s*)*(;.*)?")


def problems(plugin: Path, names: Sequence[str], manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the files ``names`` that would be packed."""
    present = set(names)
    wanted = dict(_REQUIRED)
    wanted |= dict.fromkeys((manifest.get("plugins") or {}).get("tools") or [], INSTALLATION)
    icons = [f"_assets/{manifest[key]}" for key in ("icon", "icon_dark") if manifest.get(key)]
    wanted |= dict.fromkeys(icons, INSTALLATION)
    if "://" not in (privacy := str(manifest.get("privacy") or "PRIVACY.md")):
        wanted.setdefault(privacy, MARKETPLACE)
    for name, who in sorted(wanted.items()):
        if name not in present:
            yield f"{name} is missing, or .difyignore leaves it out {who}"
        elif not (plugin / name).read_bytes().strip():
            yield f"{name} is empty {who}"
    for name, why in _UNWANTED.items():
        if name in present:
            yield f"{name} {why}"
    for name in icons:
        if name in present:
            yield from _icon_problems(plugin / name, name)
    if "README.md" in present:
        yield from _readme_problems((plugin / "README.md").read_text(encoding="utf-8"))
    if "requirements.txt" in present:
        yield from _requirement_problems((plugin / "requirements.txt").read_text(encoding="utf-8"))
    for name in names:
        if name.endswith(".py"):
            yield from _python_problems(plugin, name)
    size = sum((plugin / name).stat().st_size for name in names)
    if size > MAX_PACKAGE_BYTES:
        yield f"the package would hold {size / 1024 / 1024:.0f} MB, Dify takes 50; see .difyignore {PACKAGER}"


def advice(plugin: Path, names: Sequence[str]) -> Iterator[str]:
    """What Dify's guides recommend and nothing refuses."""
    words = len(re.sub(r"<details>.*?</details>", "", _text(plugin / "README.md"), flags=re.DOTALL).split())
    if words > ADVISED_README_WORDS:
        yield f"README.md has {words} words, Dify's guide advises about {ADVISED_README_WORDS}"
    size = sum((plugin / name).stat().st_size for name in names)
    if size > ADVISED_PACKAGE_BYTES:
        yield f"the package holds {size / 1024 / 1024:.0f} MB, some Difys take 15"


def _icon_problems(path: Path, name: str) -> Iterator[str]:
    if path.suffix != ".svg":
        yield f"{name} is no SVG {PROJECT}"
        return
    if path.stat().st_size > _MOST_ICON_BYTES:
        yield f"{name} has {path.stat().st_size / 1024:.0f} KiB, an icon may have {_MOST_ICON_BYTES // 1024} {PROJECT}"
        return
    text = _text(path)
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        yield f"{name} declares a document type, which an icon needs not {PROJECT}"
        return
    try:
        root = ET.fromstring(text)  # noqa: S314 (no document type, see above)
    except ET.ParseError as exc:
        yield f"{name} is no well-formed SVG: {exc} {PROJECT}"
        return
    box = (root.get("viewBox") or "").split()
    if root.tag != f"{_SVG}svg" or len(box) != 4 or box[2] != box[3]:  # noqa: PLR2004 (x, y, width, height)
        yield f"{name} must be an SVG with a square viewBox {PROJECT}"
    for element in root.iter():
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else "comment"
        if tag in ("script", "foreignObject", "iframe"):
            yield f"{name} holds a <{tag}> {PROJECT}"
        for key, value in element.attrib.items():
            attribute = key.rpartition("}")[2]
            if attribute.startswith("on"):
                yield f"{name} holds a script in {attribute} {PROJECT}"
            if (attribute == "href" and not value.startswith("#")) or re.search(r"url\(\s*['\"]?(?!#)", value):
                yield f"{name} refers to something outside of itself in {attribute} {PROJECT}"


def _readme_problems(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _CJK.search(line):
            yield f"README.md, line {number}: {found[0]!r}; it must be in English, others go to readme/ {MARKETPLACE}"
            return


def _requirement_problems(text: str) -> Iterator[str]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    for line in filter(None, lines):
        if not _REQUIREMENT.fullmatch(line):
            yield f"requirements.txt: {line!r} is no name with versions from a package index {MARKETPLACE}"
    sdk = next((line for line in lines if re.match(r"dify[_-]plugin\b", line)), None)
    if sdk is None:
        yield f"requirements.txt does not name dify_plugin {MARKETPLACE}"
        return
    least = re.search(r"(?:>=|==|~=)\s*([\d.]+)", sdk)
    if least is None or tuple(int(each) for each in least[1].split(".") if each) < _LEAST_SDK:
        yield f"requirements.txt: {sdk!r} must ask for dify_plugin>=0.5.0 {MARKETPLACE}"


def _python_problems(plugin: Path, name: str) -> Iterator[str]:
    try:
        compile(_text(plugin / name), name, "exec", dont_inherit=True)
    except SyntaxError as exc:
        yield f"{name}: line {exc.lineno} is no Python: {exc.msg} {INSTALLATION}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""

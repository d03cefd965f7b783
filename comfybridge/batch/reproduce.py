"""What made a picture, read from the picture or from a line of a manifest, to be made once more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfybridge import library
from comfybridge.api import File, Result
from comfybridge.batch import manifest
from comfybridge.batch.tables import unreadable
from comfybridge.convert.metadata import texts
from comfybridge.errors import InvalidInput
from comfybridge.fingerprint import fingerprint
from comfybridge.graph import Prompt
from comfybridge.pictures import without_metadata
from comfybridge.template import Template

Sentence = tuple[str, str]

_FOLDERS_UP = 3
"""A pattern may put pictures into folders below the manifest."""


@dataclass(frozen=True, slots=True)
class Made:
    """What made some files: its graphs, and what is known beside them. ``name`` is that of the template or the file."""

    graphs: Sequence[Prompt]
    name: str
    files: Sequence[Path] = ()
    server: str | None = None
    template_hash: str | None = None


def read(given: str) -> Made:
    """Read ``FILE`` as ComfyUI saved it, or ``results.jsonl:ROW``.

    What made a file without metadata is read from the manifest of its batch.

    Raises:
        InvalidInput: there is no such file or row, or it does not say what made it.
    """
    name, colon, number = given.rpartition(":")
    if colon and number.isdecimal() and not Path(given).is_file():
        return _from_manifest(Path(name), int(number))
    path = Path(given)
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise unreadable(path, exc) from exc
    graph = _graph(data)
    if graph is not None:
        return Made([graph], path.stem, [path])
    for folder in path.resolve().parents[:_FOLDERS_UP]:
        made = _from_manifest_with(folder / manifest.NAME, path.resolve().relative_to(folder))
        if made is not None:
            return made
    raise InvalidInput(
        f"{path.name} does not say what made it: it was not saved by ComfyUI, or its metadata was removed on the way.",
        f"{path.name} 中没有生成信息：它不是由 ComfyUI 保存的，或元数据已被删除。",
    )


def compared(made: Made, results: Sequence[Result], templates: Sequence[Template]) -> list[Sentence]:
    """What is the same as then, and what is not, in English and Chinese."""
    sent = [graph for result in results for graph in result.prompts]
    is_same = [fingerprint(graph) for graph in sent] == [fingerprint(graph) for graph in made.graphs]
    told = [
        ("The same graph was sent.", "发送的工作流与当时相同。")
        if is_same
        else ("Another graph was sent than then.", "发送的工作流与当时不同。")
    ]
    template = library.find(made.name, templates) if made.template_hash is not None else None
    if made.template_hash is not None and (template is None or fingerprint(template.prompt) != made.template_hash):
        told.append((
            f"The template {made.name} is another one now: the graph of then was sent.",
            f"模板 {made.name} 已发生变化：发送的是当时的工作流。",
        ))  # fmt: skip
    servers = {result.server for result in results}
    if made.server is not None and made.server not in servers:
        told.append((f"It was made at {made.server} then.", f"当时由 {made.server} 生成。"))
    if (pixels := _are_same(made, [file for result in results for file in result.files])) is not None:
        told.append(
            ("The files are the same, but for their metadata.", "除元数据外，文件完全一致。")
            if pixels
            else (
                "The files differ: by the GPU, the versions of ComfyUI and PyTorch, or another model of that name.",
                "文件内容不同：可能是显卡、ComfyUI 或 PyTorch 版本不同，或同名模型不同。",
            )
        )
    return told


def _are_same(made: Made, files: Sequence[File]) -> bool | None:
    """Whether each file of then is among those of now; ``None`` where there is none to compare with."""
    known = [path.read_bytes() for path in made.files if path.is_file()]
    if not known:
        return None
    now = [_bare(file.data) for file in files]
    return all(_bare(data) in now for data in known)


def _bare(data: bytes) -> bytes:
    return without_metadata(data) or data


def _from_manifest(path: Path, row: int) -> Made:
    try:
        entry = manifest.read_row(path, row)
    except OSError as exc:
        raise unreadable(path, exc) from exc
    if entry is None or not entry.get("graphs"):
        what = "has no row" if entry is None else "has no graph for row"
        raise InvalidInput(f"{path} {what} {row}.", f"{path} 中没有第 {row} 行的记录。")
    return _of(entry, path)


def _from_manifest_with(path: Path, file: Path) -> Made | None:
    """What a batch wrote down of a file; ``None`` where there is no batch, or not of this file."""
    try:
        entry = manifest.read_file(path, file.as_posix())
    except OSError:
        return None
    return _of(entry, path) if entry is not None and entry.get("graphs") else None


def _of(entry: manifest.Entry, path: Path) -> Made:
    graphs = [each["prompt"] for each in entry["graphs"]]
    return Made(
        graphs,
        str(entry.get("template") or "workflow"),
        [path.parent / str(file["path"]) for file in entry.get("files") or ()],
        entry.get("server"),
        entry.get("template_hash"),
    )


def _graph(data: bytes) -> Prompt | None:
    """The prompt that ComfyUI wrote into the file; what its window shows would be another thing."""
    for text in (text for name, text in texts(data) or () if name.lower() == "prompt"):
        graph = _parsed(text)
        if isinstance(graph, dict) and graph and all(isinstance(node, dict) for node in graph.values()):
            return graph
    return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None

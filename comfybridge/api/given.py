"""What a caller hands over for a graph to load, or as a workflow: paths, bytes, addresses, earlier jobs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from comfybridge import collecting, library
from comfybridge.api.result import File, Result
from comfybridge.convert import read_saved
from comfybridge.deadline import Deadline
from comfybridge.downloads import download
from comfybridge.errors import InvalidInput
from comfybridge.library import Named, Pasted
from comfybridge.loading import loadable
from comfybridge.media import InputFile
from comfybridge.pool import Pool
from comfybridge.template import Template

Given: TypeAlias = str | PathLike[str] | bytes | File | Result
"""A file: its path, its bytes, an http address, the ``prompt_id`` of an earlier job, or what such a job gave."""

Workflow: TypeAlias = str | PathLike[str] | bytes | File | Mapping[str, Any]
"""A workflow: a path, JSON, a picture by ComfyUI, or the name of a template or of one saved on the server."""

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_PROMPT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}.*", re.IGNORECASE | re.DOTALL)
_LONGEST_PATH = 1000


def several(given: Given | Iterable[Given] | None) -> tuple[Given, ...]:
    """One, or some; a text of a table is one, and an empty one is none."""
    if given is None:
        return ()
    if isinstance(given, str | bytes | PathLike | File | Result):
        return (given,) if given not in ("", b"") else ()
    return tuple(given)


def files(images: Sequence[Given], masks: Sequence[Given], pool: Pool, deadline: Deadline) -> tuple[InputFile, ...]:
    """The files, masks last, as graphs take them.

    Raises:
        InvalidInput: something cannot be had, or is no picture, video or sound.
    """
    return tuple(
        file
        for name, some in (("images", images), ("masks", masks))
        for each in some
        for file in _files(name, each, pool, deadline)
    )


def _files(name: str, given: Given, pool: Pool, deadline: Deadline) -> Iterator[InputFile]:
    match given:
        case bytes():
            yield loadable(given, "")
        case File():
            yield loadable(given.data, given.filename)
        case Result():
            yield from (loadable(each.data, each.filename) for each in given.files)
        case str() if _ADDRESS.match(given):
            got = download(given, deadline)
            yield loadable(got.data, got.filename)
        case str() if _PROMPT_ID.fullmatch(given.strip()):
            yield collecting.earlier_picture(given.strip(), pool, deadline)
        case str() | PathLike():
            path = Path(given)
            yield loadable(_read(name, path), path.name)
        case _:
            raise InvalidInput(
                f"{name}: {type(given).__name__} is none of path, bytes, http address and prompt_id.",
                f"{name}：{type(given).__name__} 不是路径、字节、http 地址或 prompt_id。",
            )


def source(workflow: Workflow, others: tuple[Template, ...]) -> Named | Pasted:
    """What to run; a name is looked up on the server if it is no file and no template.

    Raises:
        InvalidInput: a file cannot be read, or holds no workflow.
    """
    match workflow:
        case Mapping():
            return Pasted(workflow)
        case bytes():
            return Pasted(read_saved(workflow))
        case File():
            return Pasted(read_saved(workflow.data), Path(workflow.filename).stem)
        case str() if workflow.lstrip().startswith(("{", "[")):
            return Pasted(read_saved(workflow.encode(errors="replace")))
        case str() if library.find(workflow.strip(), others) is not None or not _is_file(workflow):
            if not workflow.strip():
                raise InvalidInput(
                    "workflow is empty: give a path, JSON, or the name of a template or of a saved workflow.",
                    "workflow 为空：请提供路径、JSON，或模板名、已保存的工作流名。",
                )
            return Named(workflow.strip(), others=others)
    path = Path(workflow)
    return Pasted(read_saved(_read("workflow", path)), path.stem)


def _is_file(path: str) -> bool:
    try:
        return len(path) <= _LONGEST_PATH and Path(path).is_file()
    except (OSError, ValueError):
        return False


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        shown = str(path)[:_LONGEST_PATH]
        raise InvalidInput(f"{name}: {shown!r} cannot be read: {why}.", f"{name}：无法读取 {shown!r}：{why}。") from exc

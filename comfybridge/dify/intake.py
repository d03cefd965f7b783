"""What a caller hands over: Dify's files, addresses, and the pictures of earlier jobs, as files for ComfyUI."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dify_plugin.file.file import File

from comfybridge import collecting
from comfybridge.deadline import Deadline
from comfybridge.downloads import dify_host, download, download_from_dify
from comfybridge.errors import InvalidInput
from comfybridge.loading import loadable
from comfybridge.media import InputFile
from comfybridge.parameters import Attached, Call
from comfybridge.pool import Pool

_ATTACHMENT_S = 60.0
# The hosts and ports of Dify's file store, as its own links have named them in this process. Only its signed links may
# lead there; all else has to be public.
_dify_hosts: set[str] = set()
_lock = threading.Lock()


def attached(values: Mapping[str, Any]) -> Attached | None:
    """The file with the workflow, where the caller attached one."""
    file = values.get("workflow_file")
    if isinstance(file, (list, tuple)):
        file = next(iter(file), None)
    if file is None or file == "":
        return None
    if not isinstance(file, File):
        raise InvalidInput(
            "workflow_file is no file: attach a workflow as JSON or as a picture by ComfyUI.",
            "workflow_file 不是文件：请上传工作流 JSON 或 ComfyUI 生成的图片。",
        )
    data, filename = _fetched(file, Deadline(_ATTACHMENT_S))
    return Attached(data, filename)


def files(call: Call, pool: Pool, deadline: Deadline) -> tuple[InputFile, ...]:
    """Everything that the call gives for a graph to load: an earlier picture, attached files, addresses, masks last.

    Raises:
        InvalidInput: something cannot be had, or is no picture, video or sound.
    """
    return tuple(_files(call, pool, deadline))


def _files(call: Call, pool: Pool, deadline: Deadline) -> Iterator[InputFile]:
    if call.from_prompt_id:
        yield collecting.earlier_picture(call.from_prompt_id, pool, deadline)
    yield from _attached("images", call.attachments, deadline)
    yield from _downloaded(call.image_urls, deadline)
    # Masks last, as graphs take them.
    yield from _attached("mask", call.masks, deadline)
    yield from _downloaded(call.mask_urls, deadline)


def _attached(name: str, given: Sequence[Any], deadline: Deadline) -> Iterator[InputFile]:
    for number, file in enumerate(given, start=1):
        if not isinstance(file, File):
            raise InvalidInput(f"{name}: entry {number} is no file.", f"{name}：第 {number} 项不是文件。")
        yield loadable(*_fetched(file, deadline))


def _downloaded(urls: Sequence[str], deadline: Deadline) -> Iterator[InputFile]:
    for url in urls:
        with _lock:
            trusted = _dify_hosts & {dify_host(url)}
        got = download(url, deadline, trusted_hosts=trusted)
        yield loadable(got.data, got.filename)


def _fetched(file: File, deadline: Deadline) -> tuple[bytes, str]:
    got = download_from_dify(file.url, deadline)
    if (host := dify_host(file.url)) is not None:
        with _lock:
            _dify_hosts.add(host)
    return got.data, file.filename or got.filename

"""Fetch a job's files in the form that is wanted: ComfyUI re-encodes pictures, what is written in them goes here."""

import logging
from dataclasses import replace
from pathlib import PurePosixPath

from comfybridge import jobs
from comfybridge.connections import TooLargeError
from comfybridge.deadline import Deadline
from comfybridge.errors import Failed
from comfybridge.jobs import Job, OutputFile
from comfybridge.messages import Output
from comfybridge.pictures import Form, is_still, without_metadata

logger = logging.getLogger(__name__)

LARGEST_PICTURE = 15 * 2**20
"""Bytes that agents and older Difys take; Dify's own limit is 30 MiB."""

_BEGINNING = 1 << 18
# What may be one picture that does not move, and which format it has already.
_PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".avif": "avif"} | dict.fromkeys(
    (".bmp", ".tif", ".tiff"), "other"
)
# The second is for what WebP cannot hold (more than 16383 pixels a side), or holds in too many bytes.
_PREVIEWS = {"webp": ("webp;90", "jpeg;75"), "jpeg": ("jpeg;90", "jpeg;75")}


def fetch(job: Job, output: Output, deadline: Deadline, form: Form) -> OutputFile:
    """Fetch one file; a picture as it is wanted, and as a smaller one where it would be too large.

    Raises:
        ComfyError: as ``jobs.fetch``; Failed also where the metadata is not wanted and cannot be taken out.
    """
    kind = _PICTURES.get(PurePosixPath(output.filename).suffix.lower())
    if kind is None:
        file = jobs.fetch(job, output, deadline)
    elif form.format in ("original", kind):
        file = _not_too_large(job, output, deadline)
    else:
        file = _converted(job, output, deadline, form.format)
    return file if form.keep_metadata else _stripped(file, deadline)


def _not_too_large(job: Job, output: Output, deadline: Deadline) -> OutputFile:
    try:
        return jobs.fetch(job, output, deadline, largest=LARGEST_PICTURE, beginning=_BEGINNING)
    except TooLargeError as exc:
        begun = exc.begun
    file = _preview(job, output, deadline, "webp", begun)
    if file is None:
        return _noting(
            jobs.fetch(job, output, deadline),
            "A picture is larger than 15 MiB: some apps will not take it.",
            "有图片超过 15 MiB，部分应用可能无法接收",
        )
    logger.info("prompt %s: %s is too large and came as %s", job.prompt_id, output.filename, file.mime)
    name = "WebP" if file.mime == "image/webp" else "JPEG"
    return _noting(
        file,
        f"A picture larger than 15 MiB came as {name}; the original is in ComfyUI.",
        f"超过 15 MiB 的图片已转为 {name}，原图保留在 ComfyUI 中",
    )


def _converted(job: Job, output: Output, deadline: Deadline, wanted: str) -> OutputFile:
    """As WebP or JPEG; as it was saved where it moves, or where ComfyUI cannot."""
    try:
        # Only its beginning tells whether it moves; of one that does, ComfyUI would give the first frame.
        begun = jobs.fetch(job, output, deadline, largest=_BEGINNING, beginning=_BEGINNING).data
    except TooLargeError as exc:
        begun = exc.begun
    file = _preview(job, output, deadline, wanted, begun)
    if file is not None:
        return file
    return _noting(
        _not_too_large(job, output, deadline),
        f"A picture was not turned into {wanted}: it moves, or ComfyUI cannot.",
        f"有图片未转为 {wanted}：它是动图，或 ComfyUI 无法转换",
    )


def _preview(job: Job, output: Output, deadline: Deadline, wanted: str, begun: bytes) -> OutputFile | None:
    """The picture as ComfyUI re-encodes it; ``None`` where it moves, or none is to be had that is small enough."""
    for preview in _PREVIEWS[wanted] if is_still(begun) else ():
        try:
            file = jobs.preview(job, output, deadline, preview, largest=LARGEST_PICTURE)
        except TooLargeError:
            continue
        if file is not None:
            return file
    return None


def _stripped(file: OutputFile, deadline: Deadline) -> OutputFile:
    if not file.mime.startswith("image/"):
        return _noting(file, "Only pictures are freed of metadata.", "仅图片会去除元数据")
    data = without_metadata(file.data)
    if data is None:
        # Of another kind, or an odd one: what ComfyUI makes of it has nothing written in it that is not known here.
        made = _preview(file.job, file.output, deadline, "webp", file.data)
        data = without_metadata(made.data) if made is not None else None
        if made is None or data is None:
            raise Failed(
                f"The metadata in {file.filename} cannot be taken out, so it is kept back: switch keep_metadata on.",
                f"无法去除 {file.filename} 的元数据，因此未返回该文件：请打开 keep_metadata。",
                prompt_id=file.job.prompt_id,
                server=file.job.client.base_url,
            )
        file = made
    return replace(file, data=data, view=None, link="")


def _noting(file: OutputFile, english: str, chinese: str) -> OutputFile:
    return replace(file, notes=(*file.notes, (english, chinese)))

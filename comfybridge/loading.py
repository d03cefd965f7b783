"""Bytes that a caller gives for a graph to load, as files of a kind that ComfyUI reads. Pure."""

from comfybridge.errors import InvalidInput
from comfybridge.media import InputFile, media_type

_LOADABLE = ("image", "video", "audio")


def loadable(data: bytes, filename: str) -> InputFile:
    """Raises InvalidInput for what is no whole picture, video or sound; ``filename`` may be empty."""
    media = media_type(data)
    called = f" {filename}" if filename else ""
    if media is None or media.kind not in _LOADABLE:
        raise InvalidInput(
            f"The input file{called} is no whole picture, video or sound.",
            f"输入文件{called} 不是完整的图片、视频或音频。",
        )
    if media.extension == ".heic":
        raise InvalidInput(
            f"ComfyUI cannot read HEIC: convert{called or ' the picture'} to JPEG or PNG.",
            f"ComfyUI 无法读取 HEIC：请将{called or '图片'}转换为 JPEG 或 PNG。",
        )
    return InputFile(data, media, filename)

"""From the bytes of a file to the workflow in it: JSON itself, or what ComfyUI wrote into a picture or video."""

import json
from typing import Any

from comfybridge.convert.metadata import texts
from comfybridge.errors import InvalidInput


def read_saved(data: bytes) -> Any:
    """The workflow in a file: JSON, or a PNG, WebP, JPEG, MP4, WebM or FLAC as ComfyUI saves them.

    A picture holds the prompt that made it and the workflow it was made from; the prompt is preferred.

    Raises:
        InvalidInput: the file is not JSON, or holds no workflow.
    """
    found = texts(data)
    if found is None:
        return _json(data)
    for name in ("prompt", "workflow"):
        for text in (text for key, text in found if key.lower() == name):
            try:
                saved = _parsed(text)
            except ValueError:
                continue
            if isinstance(saved, dict) and saved:
                return saved
    raise InvalidInput(
        "The file holds no ComfyUI workflow: it was not saved by ComfyUI, or its metadata was removed on the way "
        "(chat apps and image editors do that).",
        "文件中没有 ComfyUI 工作流：它不是由 ComfyUI 保存的，或元数据在传输中被删除（聊天软件和修图软件会这样做）。",
    )


def _json(data: bytes) -> Any:
    try:
        return _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            "The file is neither JSON nor a picture that can hold a workflow.",
            "文件既不是 JSON，也不是可能包含工作流的图片。",
        ) from exc
    except json.JSONDecodeError as exc:
        raise InvalidInput(
            f"This is not JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}.",
            f"不是有效的 JSON：第 {exc.lineno} 行第 {exc.colno} 列：{exc.msg}。",
        ) from exc
    except ValueError as exc:
        raise InvalidInput(f"This is not JSON: {exc}.", f"不是有效的 JSON：{exc}。") from exc


def _parsed(text: str) -> Any:
    try:
        # ComfyUI writes NaN into pictures; no browser reads it.
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError as exc:
        raise InvalidInput(
            "The JSON is nested too deeply for a workflow.", "JSON 嵌套过深，不是有效的工作流。"
        ) from exc

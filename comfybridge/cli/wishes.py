"""``generate``'s keywords as options; their values are read where the API reads them."""

import argparse
import sys
from typing import Any

from comfybridge.cli.language import say
from comfybridge.errors import InvalidInput
from comfybridge.pictures import FORMATS
from comfybridge.reading import PLATFORM_SIZES, SIZES

_SHAPES, _PLATFORMS = list(SIZES)[:4], list(PLATFORM_SIZES)[:3]
_PLAIN = {
    "template": (
        "NAME",
        "a template, see 'comfybridge templates' (default: auto)",
        "模板名，见 comfybridge templates（默认 auto）",
    ),
    "negative_prompt": ("TEXT", "what shall not be seen", "不希望出现的内容"),
    "size": (
        "SIZE",
        f"a shape ({', '.join(_SHAPES)} …), pixels (1024x768) or a platform ({', '.join(_PLATFORMS)} …)",
        f"比例（{'、'.join(_SHAPES)}…）、像素（1024x768）或平台（{'、'.join(_PLATFORMS)}…）",
    ),
    "width": ("PIXELS", "", ""),
    "height": ("PIXELS", "", ""),
    "seed": ("NUMBER", "the same seed makes the same picture (default: random)", "相同种子得到相同图片（默认随机）"),
    "steps": ("NUMBER", "", ""),
    "cfg": ("NUMBER", "how closely to follow the prompt", "提示词相关性"),
    "sampler": ("NAME", "", ""),
    "scheduler": ("NAME", "", ""),
    "model": ("NAME", "a model file of the server; a part of its name is enough", "服务器上的模型，名称的一部分即可"),
    "count": ("NUMBER", "so many pictures, each different (default: 1)", "生成张数（默认 1）"),
    "seconds": ("NUMBER", "the length of a video or a sound", "视频或音频的时长"),
    "denoise": ("0-1", "how far to go from the picture that is given", "对输入图片的改动程度"),
    "key": ("TEXT", "a call repeated with the same key makes nothing new", "使用相同键重复调用时不会重新生成"),
}


def add_wishes(parser: argparse.ArgumentParser, *, has_key: bool = True) -> None:
    group = parser.add_argument_group(say("the picture", "图片"))
    for name, (metavar, english, chinese) in _PLAIN.items():
        if name == "key" and not has_key:
            continue
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=say(english, chinese) or None)
    group.add_argument(
        "--lora",
        action="append",
        metavar="NAME[:STRENGTH]",
        help=say("a LoRA; may be repeated", "LoRA；可重复"),
    )
    given = say("a path, an http address or the prompt_id of an earlier job", "路径、http 地址或之前任务的 prompt_id")
    group.add_argument(
        "--image", action="append", metavar="FILE", help=say("a picture to begin with: ", "输入图片：") + given
    )
    group.add_argument(
        "--mask",
        action="append",
        metavar="FILE",
        help=say("what is white in it is painted anew", "蒙版：白色部分将重绘"),
    )
    add_values(group)
    group.add_argument("--format", choices=FORMATS, help=say("how to get pictures", "图片格式"))
    group.add_argument(
        "--no-metadata", action="store_true", help=say("take out what is written in pictures", "去除图片元数据")
    )


def add_values(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        dest="values",
        help=say("a further input by its name; may be repeated", "按名称设置其他输入；可重复"),
    )


def read_wishes(options: argparse.Namespace) -> dict[str, Any]:
    """What was typed of ``generate``'s keywords, without the prompt.

    Raises:
        InvalidInput: a ``--set`` without a name.
    """
    typed = {name: getattr(options, name, None) for name in _PLAIN}
    typed |= {
        "loras": ", ".join(options.lora or ()),
        "images": options.image,
        "masks": options.mask,
        "values": read_values(options),
        "format": options.format,
        "keep_metadata": False if options.no_metadata else None,
    }
    return {name: value for name, value in typed.items() if value not in (None, "", {})}


def read_values(options: argparse.Namespace) -> dict[str, str]:
    """Raises InvalidInput for what is not ``NAME=VALUE``."""
    values = {}
    for pair in options.values or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidInput("--set is written NAME=VALUE.", "--set 的格式为 NAME=VALUE。")
        values[name.strip()] = value
    return values


def read_prompt(typed: str) -> str:
    """The prompt; ``-`` is the one on standard input."""
    if typed != "-":
        return typed
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as exc:
        raise InvalidInput("Standard input is no text.", "标准输入不是文本。") from exc

"""Options that all commands share which talk to servers, and the connection that they ask for."""

import argparse
import os
from pathlib import Path

from comfybridge.api import Comfy, connect
from comfybridge.cli.language import say
from comfybridge.errors import InvalidInput

DEFAULT_TIMEOUT_S = 600.0


def add_server(parser: argparse.ArgumentParser) -> None:
    """Which servers, and the way in."""
    group = parser.add_argument_group(say("server", "服务器"))
    group.add_argument(
        "--server",
        action="append",
        metavar="URL",
        help=say(
            "a ComfyUI, such as http://127.0.0.1:8188; may be repeated (default: COMFYUI_URL)",
            "ComfyUI 地址，例如 http://127.0.0.1:8188；可重复（默认取 COMFYUI_URL）",
        ),
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help=say("sent as a Bearer token (default: COMFYUI_API_KEY)", "作为 Bearer 令牌发送（默认取 COMFYUI_API_KEY）"),
    )
    group.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help=say("a header for every request; may be repeated", "每个请求附带的请求头；可重复"),
    )
    group.add_argument("--insecure", action="store_true", help=say("believe any TLS certificate", "不校验 TLS 证书"))


def add_templates_dir(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--templates-dir",
        type=Path,
        metavar="DIR",
        help=say("a folder with templates of your own", "存放自有模板的文件夹"),
    )


def add_making(parser: argparse.ArgumentParser) -> None:
    """``add_server``, and what else concerns every job."""
    add_server(parser)
    group = parser.add_argument_group(say("jobs", "任务"))
    add_templates_dir(group)
    group.add_argument(
        "--blocked-words",
        type=Path,
        metavar="FILE",
        help=say(
            "refuse prompts with one of these words: one per line, # begins a comment",
            "拒绝包含这些词语的提示词：每行一个，# 后为注释",
        ),
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help=say("how long to wait for a job (default: %(default)g)", "等待单个任务的秒数（默认 %(default)g）"),
    )


def connected(options: argparse.Namespace) -> Comfy:
    """What the options ask for; nothing is sent yet.

    Raises:
        InvalidInput: there is no server, or something is not written as it should be.
    """
    blocked = getattr(options, "blocked_words", None)
    return connect(
        *(options.server or ()),
        api_key=options.api_key or os.environ.get("COMFYUI_API_KEY"),
        headers=headers(options),
        verify_tls=not options.insecure,
        templates_dir=getattr(options, "templates_dir", None),
        blocked_words=_words(blocked) if blocked else None,
        timeout=getattr(options, "timeout", DEFAULT_TIMEOUT_S),
    )


def headers(options: argparse.Namespace) -> dict[str, str]:
    found = {}
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise InvalidInput("--header is written 'Name: value'.", "--header 的格式为“Name: value”。")
        found[name.strip()] = value.strip()
    return found


def _words(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"--blocked-words: {path}: {exc}.", f"--blocked-words：{path}：{exc}。") from exc
    return [word for line in lines if (word := line.partition("#")[0].strip())]

"""Options of the service's commands: how long jobs may run and results last, what is loaded first, what is cleared."""

import argparse
from collections.abc import Sequence

from comfybridge.cli.language import say
from comfybridge.cli.serving import seconds

KEEP_S = 7 * 86400.0


def add_keep(command: argparse.ArgumentParser) -> None:
    how_long = say("how long results and uploads last (default: 7d)", "结果和上传文件保留多久（默认：7d）")
    command.add_argument("--keep", type=seconds, default=KEEP_S, metavar="TIME", help=how_long)


def add_limit(command: argparse.ArgumentParser) -> None:
    how_long = say(
        "how long a job may run, or with NAME= one of a template; may be repeated (default: 1h)",
        "任务最长运行时间；用 NAME= 指定某个模板，可重复（默认：1h）",
    )
    command.add_argument("--limit", type=limit, action="append", default=[], metavar="[NAME=]TIME", help=how_long)


def limit(text: str) -> tuple[str, float]:
    """The template, empty for all of them, and the time."""
    name, equals, time = text.rpartition("=")
    if equals and not name:
        raise argparse.ArgumentTypeError(say(f"{text!r} names no template", f"{text!r} 没有模板名"))
    limit_s = seconds(time)
    if limit_s <= 0:
        raise argparse.ArgumentTypeError(say(f"{text!r} leaves no time", f"{text!r} 的时间必须大于零"))
    return name.partition("@")[0], limit_s


def limit_arguments(limits: Sequence[tuple[str, float]]) -> list[str]:
    """The same again, for a process that is started."""
    return [part for name, limit_s in limits for part in ("--limit", f"{name}={limit_s}" if name else str(limit_s))]

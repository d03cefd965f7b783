"""Options of the service's commands: how long jobs may run and results last, what is loaded first, what is cleared."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from comfybridge.cli.language import say
from comfybridge.cli.serving import seconds

KEEP_S = 7 * 86400.0
PRUNE_AFTER_S = 3600.0


def add_keep(command: argparse.ArgumentParser) -> None:
    how_long = say("how long results and uploads last (default: 7d)", "结果和上传文件保留多久（默认：7d）")
    command.add_argument("--keep", type=seconds, default=KEEP_S, metavar="TIME", help=how_long)


def add_limit(command: argparse.ArgumentParser) -> None:
    how_long = say(
        "how long a job may run, or with NAME= one of a template; may be repeated (default: 1h)",
        "任务最长运行时间；用 NAME= 指定某个模板，可重复（默认：1h）",
    )
    command.add_argument("--limit", type=limit, action="append", default=[], metavar="[NAME=]TIME", help=how_long)


def add_warm(command: argparse.ArgumentParser) -> None:
    which = say(
        "a template to run when a server comes up, so that its model is loaded; may be repeated",
        "服务器就绪后先运行的模板，以便预先加载模型；可重复",
    )
    command.add_argument("--warm", action="append", default=[], metavar="NAME", help=which)


def add_prune_after(command: argparse.ArgumentParser) -> None:
    when = say(
        "how long ComfyUI keeps a file of its own that no job names any more (default: 1h)",
        "文件不再被任务使用后，在 ComfyUI 的文件夹中保留多久（默认：1h）",
    )
    command.add_argument("--prune-after", type=seconds, default=PRUNE_AFTER_S, metavar="TIME", help=when)


def add_folder(command: argparse.ArgumentParser) -> None:
    where = say(
        "ComfyUI's own folder on this machine: what the store has is deleted in its input, output and temp",
        "本机上 ComfyUI 的文件夹：其 input、output、temp 中已存入存储的文件会被删除",
    )
    command.add_argument("--comfyui-dir", type=folder, metavar="DIR", help=where)
    add_prune_after(command)


def add_folders(command: argparse.ArgumentParser) -> None:
    where = say(
        "a server's own folder on this machine: what the store has is deleted in its input, output and temp; may be"
        " repeated",
        "服务器在本机上的文件夹：其 input、output、temp 中已存入存储的文件会被删除；可重复",
    )
    command.add_argument("--comfyui-dir", type=folder_of, action="append", default=[], metavar="URL=DIR", help=where)
    add_prune_after(command)


def folder(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(say(f"there is no folder {text}", f"没有文件夹 {text}"))
    return path


def folder_of(text: str) -> tuple[str, Path]:
    """A server and its folder."""
    url, equals, path = text.partition("=")
    if not equals or "://" not in url:
        raise argparse.ArgumentTypeError(say(f"{text!r} is not URL=DIR", f"{text!r} 不是 URL=DIR 的形式"))
    return url, folder(path)


def worker_arguments(options: argparse.Namespace, url: str) -> list[str]:
    """The options of ``serve`` that are those of the worker of a server."""
    # Here, since only this command needs what the service stands on.
    from comfybridge.service.servers import normal  # noqa: PLC0415

    warm = [part for name in options.warm for part in ("--warm", name)]
    folders = [
        part for of, path in options.comfyui_dir if normal(of) == normal(url) for part in ("--comfyui-dir", str(path))
    ]
    return [*warm, *folders, "--prune-after", str(options.prune_after)]


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

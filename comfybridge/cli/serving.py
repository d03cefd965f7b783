"""What the commands of the service share: their options and their log."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.service import DATABASE_VARIABLE, logs

_LINKS_S = 7 * 86400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_address(command: argparse.ArgumentParser) -> None:
    on = say("address to listen on (default: %(default)s)", "监听地址（默认：%(default)s）")
    command.add_argument("--host", default="127.0.0.1", help=on)
    command.add_argument(
        "--port",
        type=partial(whole, most=65535),
        default=8288,
        help=say("port (default: %(default)s)", "端口（默认：%(default)s）"),
    )


def add_shared(command: argparse.ArgumentParser) -> None:
    given = os.environ.get(DATABASE_VARIABLE, "")
    address = say(f"postgresql://… (default: ${DATABASE_VARIABLE})", f"postgresql://…（默认：${DATABASE_VARIABLE}）")
    command.add_argument("--database", default=given, required=not given, metavar="URL", help=address)
    where = say("a folder, or s3://bucket/prefix, gs://, az://", "文件夹，或 s3://bucket/prefix、gs://、az://")
    command.add_argument("--store", required=True, metavar="URL", help=where)
    command.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)


def add_templates(command: argparse.ArgumentParser) -> None:
    what = say(
        "a folder with templates as name@version.json, and rollout.yaml",
        "存放 name@version.json 和 rollout.yaml 的文件夹",
    )
    command.add_argument("--templates", type=folder, metavar="DIR", help=what)


def templates_arguments(options: argparse.Namespace) -> list[str]:
    """The same option for a gateway of ours."""
    return ["--templates", str(options.templates)] if options.templates is not None else []


def folder(text: str) -> Path:
    """One that is there."""
    path = Path(text).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(say(f"there is no folder {text}", f"没有文件夹 {text}"))
    return path


def add_public(command: argparse.ArgumentParser) -> None:
    address = say(
        "the address at which others reach this one, for links (default: as each request names it)",
        "外部访问本服务的地址，用于生成链接（默认：按请求中的地址）",
    )
    command.add_argument("--public-url", type=web_address, default=None, metavar="URL", help=address)
    how_long = say("how long signed links open (default: 7d, at most 30d)", "签名链接的有效期（默认：7d，最长 30d）")
    command.add_argument("--links", type=seconds, default=_LINKS_S, metavar="TIME", help=how_long)
    largest = say(
        "how many MiB a file may have that is uploaded (default: %(default)s)",
        "上传文件的大小上限，单位 MiB（默认：%(default)s）",
    )
    command.add_argument("--largest-upload", type=whole, default=100, metavar="MIB", help=largest)
    most = say(
        "how many jobs may wait; then 503 is answered (default: %(default)s)",
        "最多排队的任务数，超过后返回 503（默认：%(default)s）",
    )
    command.add_argument("--most-queued", type=whole, default=10_000, metavar="N", help=most)


def public_arguments(options: argparse.Namespace) -> list[str]:
    """The same options for a gateway of ours."""
    given = {
        "--public-url": options.public_url,
        "--links": options.links,
        "--largest-upload": options.largest_upload,
        "--most-queued": options.most_queued,
    }
    return [word for name, value in given.items() if value is not None for word in (name, str(value))]


def add_database(command: argparse.ArgumentParser) -> None:
    """For the commands of an operator: which database they speak of; see ``database_of``."""
    where = command.add_mutually_exclusive_group()
    address = say(f"postgresql://… (default: ${DATABASE_VARIABLE})", f"postgresql://…（默认：${DATABASE_VARIABLE}）")
    where.add_argument("--database", metavar="URL", help=address)
    folder = say(
        "the folder of a `comfybridge serve` that runs on this machine", "本机正在运行的 comfybridge serve 的数据文件夹"
    )
    where.add_argument("--data", type=Path, metavar="DIR", help=folder)


def database_of(options: argparse.Namespace) -> str:
    """The database's address; ends the program with a sentence where there is none."""
    # Here, since most commands need nothing of what the service stands on.
    from comfybridge.service.postgres import NotRunning, running  # noqa: PLC0415

    if options.data is not None:
        try:
            return running(options.data)
        except NotRunning:
            problem = say(
                f"no `comfybridge serve` runs on {options.data}; start it, or name another --data or --database.",
                f"{options.data} 上没有正在运行的 comfybridge serve；请先启动它，或改用其他 --data、--database。",
            )
    elif url := options.database or os.environ.get(DATABASE_VARIABLE, ""):
        return url
    else:
        problem = say(
            f"which database? Give --data DIR, --database URL, or set {DATABASE_VARIABLE}.",
            f"请用 --data DIR、--database URL 或环境变量 {DATABASE_VARIABLE} 指定数据库。",
        )
    sys.stderr.write(f"comfybridge: {problem}\n")
    raise SystemExit(exits.USAGE)


def web_address(text: str) -> str:
    """``https://pictures.example.com``, with a path where a proxy serves it below one."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        mistake = say(
            f"{text!r} is no address such as https://pictures.example.com",
            f"{text!r} 不是有效的网址，例如 https://pictures.example.com",
        )
        raise argparse.ArgumentTypeError(mistake)
    return text.rstrip("/")


def refuse_without_keys(command: str, host: str, where: str) -> int:
    """Say that others could come in without a key, and how to make one; the exit status."""
    problem = say(
        f"{host} can be reached by others, and there are no API keys. Make one while it listens on 127.0.0.1:"
        f" comfybridge keys add NAME --admin {where}",
        f"{host} 可被其他机器访问，而目前还没有 API 密钥。请先在监听 127.0.0.1 时创建："
        f"comfybridge keys add NAME --admin {where}",
    )
    sys.stderr.write(f"comfybridge {command}: {problem}\n")
    return exits.USAGE


def seconds(text: str) -> float:
    """``7d``, ``12h``, ``30m``, ``90s``, or a number of seconds."""
    unit = _UNITS.get(text[-1:])
    try:
        number = float(text[:-1] if unit else text)
    except ValueError:
        mistake = say(f"{text!r} is no time such as 7d, 12h or 30m", f"{text!r} 不是 7d、12h、30m 这样的时间")
        raise argparse.ArgumentTypeError(mistake) from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(say(f"{text!r} is not more than no time", f"{text!r} 的时间必须大于零"))
    return number * (unit or 1)


def whole(text: str, *, most: int = 2**31 - 1) -> int:
    """A number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number <= most:
        mistake = say(f"{text!r} is no number from 1 to {most}", f"{text!r} 不是 1 到 {most} 的整数")
        raise argparse.ArgumentTypeError(mistake)
    return number


def told_if_unusable(command: str, run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command, which ends with a sentence where what it stands on cannot be used."""

    def told(options: argparse.Namespace) -> int:
        # Here, since most commands need nothing of what the service stands on.
        from comfybridge.service.database import NoDatabase  # noqa: PLC0415
        from comfybridge.service.listening import CannotListen  # noqa: PLC0415
        from comfybridge.service.postgres import CannotStart  # noqa: PLC0415
        from comfybridge.service.servers import NotAnAddress  # noqa: PLC0415
        from comfybridge.service.store import Unusable  # noqa: PLC0415

        statuses: dict[type[CannotListen | CannotStart | NoDatabase | NotAnAddress | Unusable], int] = {
            CannotListen: exits.PROBLEMS,
            CannotStart: exits.PROBLEMS,
            NoDatabase: exits.UNAVAILABLE,
            NotAnAddress: exits.USAGE,
            Unusable: exits.PROBLEMS,
        }
        try:
            return run(options)
        except tuple(statuses) as mistake:
            sys.stderr.write(f"comfybridge {command}: {say(str(mistake), mistake.zh)}\n")
            return statuses[type(mistake)]

    return told


def add_log(command: argparse.ArgumentParser) -> None:
    form = os.environ.get("COMFYBRIDGE_LOG", logs.FORMS[0])
    how = say(
        "the form of the log; also by COMFYBRIDGE_LOG (default: %(default)s)",
        "日志格式，也可用环境变量 COMFYBRIDGE_LOG 设置（默认：%(default)s）",
    )
    command.add_argument("--log", choices=logs.FORMS, default=form, help=how)


def log(form: str) -> None:
    if form not in logs.FORMS:  # a default is not checked
        problem = say(
            f"COMFYBRIDGE_LOG is text or json, not {form!r}", f"COMFYBRIDGE_LOG 应为 text 或 json，而不是 {form!r}"
        )
        sys.stderr.write(f"comfybridge: {problem}\n")
        raise SystemExit(exits.USAGE)
    logs.begin(form)

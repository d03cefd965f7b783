"""What the commands of the service share: their options and their log."""

import argparse
import os
import sys

from comfybridge.addresses import is_loopback
from comfybridge.cli.language import say
from comfybridge.service import logs

_KEEP_S = 7 * 86400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_address(command: argparse.ArgumentParser) -> None:
    on = say("address to listen on (default: %(default)s)", "监听地址（默认：%(default)s）")
    command.add_argument("--host", type=loopback, default="127.0.0.1", help=on)
    command.add_argument(
        "--port", type=int, default=8288, help=say("port (default: %(default)s)", "端口（默认：%(default)s）")
    )


def add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--database", required=True, metavar="URL", help="postgresql://…")
    where = say("a folder, or s3://bucket/prefix, gs://, az://", "文件夹，或 s3://bucket/prefix、gs://、az://")
    command.add_argument("--store", required=True, metavar="URL", help=where)
    how_long = say("how long results last (default: 7d)", "结果保留多久（默认：7d）")
    command.add_argument("--keep", type=seconds, default=_KEEP_S, metavar="TIME", help=how_long)
    command.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)


def loopback(text: str) -> str:
    """An address that only this machine reaches: without API keys nobody else may be let in."""
    if not is_loopback(text):
        mistake = say(
            f"{text} can be reached by others, and there are no API keys yet: use 127.0.0.1, and a proxy with a login"
            " before it",
            f"{text} 可被其他机器访问，而目前还没有 API 密钥：请使用 127.0.0.1，并在前面加带登录的代理",
        )
        raise argparse.ArgumentTypeError(mistake)
    return text


def seconds(text: str) -> float:
    """``7d``, ``12h``, ``30m``, ``90s``, or a number of seconds."""
    unit = _UNITS.get(text[-1:])
    try:
        number = float(text[:-1] if unit else text)
    except ValueError:
        mistake = say(f"{text!r} is no time such as 7d, 12h or 30m", f"{text!r} 不是 7d、12h、30m 这样的时间")
        raise argparse.ArgumentTypeError(mistake) from None
    return number * (unit or 1)


def add_log(command: argparse.ArgumentParser) -> None:
    form = os.environ.get("COMFYBRIDGE_LOG", logs.FORMS[0])
    how = say(
        "the form of the log; also by COMFYBRIDGE_LOG (default: %(default)s)",
        "日志格式，也可用环境变量 COMFYBRIDGE_LOG 设置（默认：%(default)s）",
    )
    command.add_argument("--log", choices=logs.FORMS, default=form, help=how)


def log(form: str) -> None:
    if form not in logs.FORMS:  # a default is not checked
        sys.exit(
            say(f"COMFYBRIDGE_LOG is text or json, not {form!r}", f"COMFYBRIDGE_LOG 应为 text 或 json，而不是 {form!r}")
        )
    logs.begin(form)

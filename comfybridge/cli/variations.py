"""``comfybridge variations``."""

import argparse

from comfybridge.api.variations import varied
from comfybridge.cli import making, printing
from comfybridge.cli.connecting import add_making
from comfybridge.cli.language import say
from comfybridge.cli.wishes import add_wishes, read_prompt, read_wishes


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt", help=say("what all show; - reads it from standard input", "共同的描述；- 表示从标准输入读取")
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "-n",
        type=int,
        default=4,
        dest="number",
        metavar="NUMBER",
        help=say("so many seeds (default: %(default)s)", "使用多少个种子（默认 %(default)s）"),
    )
    how.add_argument(
        "--add",
        action="append",
        metavar="PHRASE",
        help=say(
            "a phrase to add to the prompt, with the same seed; may be repeated", "追加到提示词的短语，种子相同；可重复"
        ),
    )
    add_jobs(parser)
    printing.add_output(parser)
    add_wishes(parser)
    add_making(parser)
    printing.add(parser, is_progressing=True)
    parser.set_defaults(run=_variations)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=int,
        default=4,
        metavar="NUMBER",
        help=say(
            "so many at once for each server (default: %(default)s)", "每台服务器的并发任务数（默认 %(default)s）"
        ),
    )


def _variations(options: argparse.Namespace) -> int:
    return making.made(
        options,
        lambda: varied(read_prompt(options.prompt), options.add or options.number, read_wishes(options)),
        jobs=options.jobs,
    )

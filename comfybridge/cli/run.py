"""``comfybridge run``."""

import argparse
from typing import Any

from comfybridge.cli import making, printing
from comfybridge.cli.connecting import add_making
from comfybridge.cli.language import say
from comfybridge.cli.wishes import add_values, read_prompt, read_values


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workflow",
        help=say(
            "a file (JSON, or a picture by ComfyUI), or the name of a template or of a workflow saved on the server",
            "文件（JSON 或 ComfyUI 生成的图片），或模板名、服务器上保存的工作流名",
        ),
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help=say("its prompt; - reads it from standard input", "提示词；- 表示从标准输入读取"),
    )
    parser.add_argument("--negative-prompt", metavar="TEXT", help=say("what shall not be seen", "不希望出现的内容"))
    parser.add_argument("--seed", metavar="NUMBER")
    parser.add_argument(
        "--file",
        action="append",
        metavar="FILE",
        help=say("what it shall load; may be repeated", "工作流要加载的文件；可重复"),
    )
    add_values(parser)
    printing.add_output(parser)
    add_making(parser)
    printing.add(parser, is_progressing=True)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return making.made(options, lambda: [_wishes(options)])


def _wishes(options: argparse.Namespace) -> dict[str, Any]:
    return {
        **read_values(options),
        "workflow": options.workflow,
        "prompt": read_prompt(options.prompt) if options.prompt else None,
        "negative_prompt": options.negative_prompt,
        "seed": options.seed,
        "files": options.file,
    }

"""All commands by name. Only the module of the one that was typed is imported, so that ``--help`` is quick.

Such a module has ``add(parser)``, which adds the command's arguments and, by ``set_defaults(run=…)``, what it does.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from comfybridge.cli import exits
from comfybridge.cli.language import say

COMMANDS = {
    "generate": ("making", "make pictures from a prompt", "由提示词生成图片"),
    "variations": ("variations", "make several variations of one picture", "生成同一图片的多个变体"),
    "batch": ("batch", "make a picture for each row of a table", "按表格逐行生成图片"),
    "product": ("sets", "make product pictures for shops", "生成商品图"),
    "social": ("sets", "make pictures for social media", "生成社交媒体配图"),
    "design": ("sets", "make background, icons and decoration from a brief", "由简报生成背景、图标和装饰图"),
    "run": ("run", "run any workflow", "运行任意工作流"),
    "result": ("earlier", "fetch the files of an earlier job", "取回之前任务的文件"),
    "reproduce": ("reproduce", "make a picture once more, from what is written in it", "按图片中的信息重新生成"),
    "cancel": ("earlier", "stop a job", "取消任务"),
    "templates": ("templates", "list the templates, and what each needs", "列出模板及所需模型"),
    "doctor": ("doctor", "tell what is wrong between here and a server", "检查与服务器之间的问题"),
    "workflow": ("workflow", "work with saved workflows", "处理保存的工作流"),
    "demo": ("demo", "make one picture on the simulator", "用模拟器生成一张图片"),
    "serve": ("serve", "serve many ComfyUI servers as one, all on this machine", "在本机将多台 ComfyUI 合为一台服务"),
    "gateway": ("gateway", "one gateway of a fleet", "服务器群的一个网关"),
    "servers": ("servers", "list, add, pause, drain and remove the servers", "查看、加入、暂停、排空、移除服务器"),
    "worker": ("worker", "the worker of one ComfyUI server", "一台 ComfyUI 服务器的工作进程"),
    "keys": ("keys", "say who may use the service", "管理服务的 API 密钥"),
    "versions": ("versions", "tell how the versions of templates do", "查看模板各版本的表现"),
    "simulator": ("simulator", "serve a ComfyUI stand-in that paints test cards", "启动绘制测试卡的 ComfyUI 模拟器"),
}
"""Name, module, and what it does."""


class _Aligned(argparse.HelpFormatter):
    """Leaves room for the longest command, whose indent argparse forgets to count."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 4 + max(map(len, COMMANDS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is one of ``exits``."""
    for stream in (sys.stdout, sys.stderr):
        # A prompt may hold what a terminal cannot show; that is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(typed).parse_args(typed)
        status: int = options.run(options)
        # Here, since Python's own at the end would complain of a reader who has left.
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough of it; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.SUCCEEDED
    return status


def _parser(typed: Sequence[str]) -> argparse.ArgumentParser:
    wanted = next((word for word in typed if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="comfybridge",
        description=say("Text in, picture out, on ComfyUI.", "ComfyUI 文生图命令行。"),
        formatter_class=_Aligned,
    )
    commands = parser.add_subparsers(title=say("commands", "命令"), required=True, metavar="COMMAND")
    for name, (module, english, chinese) in COMMANDS.items():
        summary = say(english, chinese)
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == wanted:
            import_module(f"comfybridge.cli.{module}").add(command)
    return parser

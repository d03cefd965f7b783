"""``comfybridge demo``: one picture on the simulator, or on the server that COMFYUI_URL names."""

import argparse
import os
import shlex
import sys

from comfybridge.cli import exits, making, printing
from comfybridge.cli.connecting import add_making
from comfybridge.cli.language import say
from comfybridge.cli.wishes import add_wishes, read_prompt, read_wishes

_PROMPT = "a red fox in fresh snow, morning light, 雪地里的红狐，晨光"
# Long enough to see the progress move.
_WORK_S = 2.0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", default=_PROMPT, help=say("what to show", "画面描述"))
    printing.add_output(parser)
    add_wishes(parser)
    add_making(parser)
    printing.add(parser, is_progressing=True)
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    if options.server or os.environ.get("COMFYUI_URL"):
        return _made(options)
    try:
        # Here, since it needs aiohttp and Pillow, which a real server makes unnecessary.
        from comfybridge.simulator import Simulator  # noqa: PLC0415
    except ImportError as exc:
        print(
            say(
                f"The simulator needs more packages ({exc.name}): pip install 'comfybridge[simulator]'",
                f"模拟器需要更多软件包（{exc.name}）：pip install 'comfybridge[simulator]'",
            ),
            file=sys.stderr,
        )
        return exits.USAGE
    with Simulator(work=_WORK_S) as comfyui:
        options.server = [comfyui.url]
        status = _made(options)
    if not options.quiet and not options.json:
        again = f"comfybridge generate --server http://127.0.0.1:8188 {shlex.quote(options.prompt)}"
        note = say(
            f"This is the simulator's test card; no diffusion model ran. For real, start ComfyUI, then:\n  {again}",
            f"这是模拟器的测试卡，没有运行扩散模型。要真正生成图片，请启动 ComfyUI 后运行：\n  {again}",
        )
        print(note, file=sys.stderr)
    return status


def _made(options: argparse.Namespace) -> int:
    return making.made(options, lambda: [{"prompt": read_prompt(options.prompt), **read_wishes(options)}])

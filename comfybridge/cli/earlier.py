"""``comfybridge result`` and ``comfybridge cancel``: jobs that were submitted before."""

import argparse
import contextlib
import sys

from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_making, add_server, connected
from comfybridge.cli.language import say
from comfybridge.cli.naming import Naming
from comfybridge.cli.progress import shown
from comfybridge.errors import ComfyError

_CANCELLED = {
    "cancelled": ("cancelled", "已取消"),
    "succeeded": ("has finished: nothing to cancel", "已完成，无需取消"),
    "failed": ("has failed: nothing to cancel", "已失败，无需取消"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of either; which one it is, is the last word of the parser's name."""
    parser.add_argument("prompt_id", nargs="+", help=say("as it was reported", "之前返回的 prompt_id"))
    if parser.prog.endswith("result"):
        printing.add_output(parser)
        add_making(parser)
        printing.add(parser, is_progressing=True)
        parser.set_defaults(run=_result)
        return
    add_server(parser)
    printing.add(parser)
    parser.set_defaults(run=_cancel)


def _result(options: argparse.Namespace) -> int:
    """Ctrl-C leaves the jobs alone: they were not started here."""
    statuses = []
    view = shown(lambda _row: "", total=1, is_quiet=options.quiet or options.json)
    is_one = len(options.prompt_id) == 1
    try:
        naming = Naming(options.output)
        with contextlib.closing(view), connected(options) as comfy:
            for number, prompt_id in enumerate(options.prompt_id, start=1):
                try:
                    result = comfy.collect(prompt_id, on_event=view.hear)
                    paths = naming.save(result, row=number)
                except ComfyError as exc:
                    statuses.append(exits.of_error(exc))
                    if options.json:
                        view.result(printing.document(printing.error_facts(exc), is_line=not is_one))
                    else:
                        view.note(printing.sentence(exc))
                    continue
                finally:
                    view.finish(0)
                statuses.append(exits.SUCCEEDED)
                if options.json:
                    view.result(printing.document(printing.result_facts(result, paths), is_line=not is_one))
                    continue
                for line in (*map(str, paths), *result.texts):
                    view.result(line)
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    return exits.of_several(statuses)


def _cancel(options: argparse.Namespace) -> int:
    statuses, told = [], []
    try:
        with connected(options) as comfy:
            for prompt_id in options.prompt_id:
                try:
                    was = comfy.cancel(prompt_id)
                except ComfyError as exc:
                    statuses.append(exits.of_error(exc))
                    told.append(printing.error_facts(exc))
                    if not options.json:
                        print(printing.sentence(exc), file=sys.stderr)
                    continue
                statuses.append(exits.SUCCEEDED)
                told.append({"prompt_id": prompt_id, "outcome": was})
                if not options.json:
                    print(f"{prompt_id}: {say(*_CANCELLED[was])}")
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    if options.json:
        print(printing.document(told[0] if len(told) == 1 else told))
    return exits.of_several(statuses)

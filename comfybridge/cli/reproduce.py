"""``comfybridge reproduce``: a picture once more, from what is written in it."""

import argparse
import contextlib
import sys

from comfybridge.api import Event
from comfybridge.batch import reproduce
from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_making, connected
from comfybridge.cli.interrupting import cancelling
from comfybridge.cli.language import say
from comfybridge.cli.naming import Naming
from comfybridge.cli.progress import shown
from comfybridge.errors import ComfyError
from comfybridge.fingerprint import fingerprint


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "made",
        metavar="FILE|results.jsonl:ROW",
        help=say(
            "a picture, video or sound that ComfyUI saved, or a row of a batch",
            "ComfyUI 保存的图片、视频或音频，或批处理结果中的一行",
        ),
    )
    printing.add_output(parser)
    add_making(parser)
    printing.add(parser, is_progressing=True)
    parser.set_defaults(run=_reproduce)


def _reproduce(options: argparse.Namespace) -> int:
    is_quiet = options.quiet or (options.json and not sys.stderr.isatty())
    view = shown(lambda _row: "", total=1, is_quiet=is_quiet)
    try:
        made = reproduce.read(options.made)
        naming = Naming(options.output)
        with connected(options) as comfy, contextlib.closing(view), cancelling(view.close):
            results = []
            for number, graph in enumerate(made.graphs):

                def hear(event: Event) -> None:
                    view.hear(event)

                results.append(comfy.again(graph, name=made.name, on_event=hear))
                view.finish(number)
            told = reproduce.compared(made, results, comfy.templates())
            paths = [naming.save(result, row=row) for row, result in enumerate(results, start=1)]
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    if options.json:
        facts = {
            "results": [printing.result_facts(result, saved) for result, saved in zip(results, paths, strict=True)],
            "graph_hashes": [fingerprint(graph) for graph in made.graphs],
            "compared": [{"en": english, "zh": chinese} for english, chinese in told],
        }
        print(printing.document(facts))
        return exits.SUCCEEDED
    for path in (path for saved in paths for path in saved):
        print(path)
    if not is_quiet:
        for english, chinese in told:
            print(say(english, chinese), file=sys.stderr)
    return exits.SUCCEEDED

"""``comfybridge generate``, and what all commands do that make something: progress, files, Ctrl-C, exit status."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from comfybridge.api import Comfy, Done, Event
from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_making, connected
from comfybridge.cli.interrupting import cancelling
from comfybridge.cli.language import say
from comfybridge.cli.naming import Naming
from comfybridge.cli.progress import Shown, short, shown
from comfybridge.cli.wishes import add_wishes, read_prompt, read_wishes
from comfybridge.errors import ComfyError, InvalidInput


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt", help=say("what to show; - reads it from standard input", "画面描述；- 表示从标准输入读取")
    )
    printing.add_output(parser)
    add_wishes(parser)
    add_making(parser)
    printing.add(parser, is_progressing=True)
    parser.set_defaults(run=_generate)


def _generate(options: argparse.Namespace) -> int:
    return made(options, lambda: [{"prompt": read_prompt(options.prompt), **read_wishes(options)}])


def made(options: argparse.Namespace, rows: Callable[[], Iterable[Mapping[str, Any]]], *, jobs: int = 1) -> int:
    """Make the rows that ``rows()`` gives, print and save what comes of them, and give the exit status."""
    try:
        naming = Naming(options.output)
        with connected(options) as comfy:
            return _Making(options, naming, list(rows())).all(comfy, jobs)
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)


class _Making:
    def __init__(self, options: argparse.Namespace, naming: Naming, rows: Sequence[Mapping[str, Any]]) -> None:
        self._json = options.json
        self._quiet = options.quiet or (options.json and not sys.stderr.isatty())
        self._naming = naming
        self._rows = rows
        self._underway: dict[int, str] = {}
        self._statuses: list[int] = []

    def all(self, comfy: Comfy, jobs: int) -> int:
        view = shown(self._label, total=len(self._rows), is_quiet=self._quiet)

        def hear(event: Event) -> None:
            self._underway[event.row or 0] = event.prompt_id
            view.hear(event)

        try:
            with (
                contextlib.closing(view),
                cancelling(view.close),
                contextlib.closing(comfy.map(self._rows, jobs=jobs, on_event=hear)) as ends,
            ):
                for done in ends:
                    view.finish(done.index)
                    self._underway.pop(done.index, None)
                    self._end(done, view)
        except KeyboardInterrupt:
            return self._interrupted()
        return exits.of_several(self._statuses)

    def _label(self, row: int) -> str:
        wishes = self._rows[row]
        said = short(str(wishes.get("prompt") or wishes.get("workflow") or ""))
        return f"{row + 1} {said}" if len(self._rows) > 1 else said

    def _end(self, done: Done[Any], view: Shown) -> None:
        paths, error = [], done.error
        if done.result is not None:
            try:
                paths = self._naming.save(done.result, row=done.index + 1)
            except InvalidInput as exc:
                error = exc
        self._statuses.append(exits.of_error(error) if error is not None else exits.SUCCEEDED)
        if self._json:
            facts = printing.done_facts(done, paths, error)
            view.result(printing.document(facts, is_line=len(self._rows) > 1))
            return
        if error is not None:
            head = f"{self._label(done.index)}: " if len(self._rows) > 1 else ""
            view.note(f"{head}{printing.sentence(error)}")
        if done.result is None:
            return
        for path in paths:
            view.result(str(path))
        for text in done.result.texts:
            view.result(text)
        if not self._quiet:
            view.note(printing.summary(done.result))
            for english, chinese in done.result.notes:
                view.note(say(english, chinese))

    def _interrupted(self) -> int:
        ids = [prompt_id for _, prompt_id in sorted(self._underway.items())]
        if self._json:
            facts = {"outcome": "cancelled", "interrupted": True, "prompt_ids": ids, "exit_status": exits.INTERRUPTED}
            print(printing.document(facts, is_line=len(self._rows) > 1), flush=True)
        for prompt_id in ids:
            print(say(f"asked ComfyUI to cancel {prompt_id}", f"已请求取消 {prompt_id}"), file=sys.stderr)
        return exits.INTERRUPTED

"""What the commands do that make many pictures: an output folder that can be gone on with, bars, a summary."""

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from comfybridge.api import Comfy, Event
from comfybridge.api.connecting import read_templates
from comfybridge.batch import folder, manifest, naming, sheet
from comfybridge.batch.manifest import Entry
from comfybridge.batch.naming import Pattern
from comfybridge.batch.plan import Plan
from comfybridge.batch.rows import Row
from comfybridge.batch.run import Batch
from comfybridge.batch.summary import SUCCEEDED, Summary
from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_making, connected
from comfybridge.cli.interrupting import cancelling
from comfybridge.cli.language import say
from comfybridge.cli.progress import is_lively, short, shown
from comfybridge.cli.variations import add_jobs
from comfybridge.errors import ComfyError, InvalidInput
from comfybridge.template import Template

_STATUSES = {
    SUCCEEDED: exits.SUCCEEDED,
    "failed": exits.FAILED,
    "rejected": exits.REJECTED,
    "cancelled": exits.CANCELLED,
    "timed_out": exits.TIMED_OUT,
    "lost": exits.LOST,
}


def add(parser: argparse.ArgumentParser, *, pattern: str) -> None:
    group = parser.add_argument_group(say("output", "输出"))
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help=say(
            "the folder for pictures and results; the same one goes on where it was left (default: out/NAME)",
            "图片与结果的文件夹；再次使用同一文件夹会继续未完成的部分（默认 out/名称）",
        ),
    )
    fields = ", ".join(naming.FIELDS)
    group.add_argument(
        "--name",
        default=pattern,
        metavar="PATTERN",
        help=say(
            f"names of the files; of {fields} (default: {pattern})", f"文件名模式；可用 {fields}（默认 {pattern}）"
        ).replace("%", "%%"),
    )
    add_jobs(parser)
    parser.add_argument(
        "--retry-failed", action="store_true", help=say("make rows again that failed before", "重新生成之前失败的行")
    )
    parser.add_argument(
        "--dry-run", action="store_true", help=say("show the rows and send nothing", "只显示各行，不发送任何内容")
    )
    add_making(parser)
    printing.add(parser, is_progressing=True)


def made(options: argparse.Namespace, called: str, planned: Callable[[Sequence[Template]], Plan]) -> int:
    """Make what is planned, under ``out/called`` unless another folder is named, and give the exit status."""
    try:
        pattern = naming.pattern(options.name)
        if options.jobs < 1:
            raise InvalidInput("--jobs must be 1 or more.", "--jobs 必须不小于 1。")
        if options.dry_run:
            return _look(options, planned(read_templates(options.templates_dir)))
        with connected(options) as comfy:
            plan = planned(comfy.templates())
            for row in plan.mistaken:
                if options.json:
                    print(printing.document(_bad_facts(row), is_line=True))
                else:
                    _tell(_bad(row))
            if plan.bad > len(plan.mistaken):
                more = plan.bad - len(plan.mistaken)
                _tell(say(f"and {more} more", f"以及另外 {more} 行"))
            if plan.bad == plan.total:
                raise InvalidInput("No row can be made; nothing was sent.", "没有可以生成的行，未发送任何内容。")
            with folder.opened(options.output or Path("out") / called) as opened:
                return _Making(options, plan, opened, pattern, comfy).all()
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)


class _Making:
    def __init__(
        self, options: argparse.Namespace, plan: Plan, opened: folder.Folder, pattern: Pattern, comfy: Comfy
    ) -> None:
        self._json = options.json
        self._quiet = options.quiet or (options.json and not sys.stderr.isatty())
        self._plan = plan
        self._folder = opened
        self._labels: dict[int, str] = {}
        self._shown = 0
        self._view = shown(self._label, total=plan.total, is_quiet=self._quiet)
        # A log has no room for the steps of thousands of jobs.
        is_told = not self._quiet and is_lively(sys.stderr, os.environ)
        self._batch = Batch(
            comfy=comfy,
            plan=plan,
            folder=opened,
            manifest=manifest.Manifest(opened.path / manifest.NAME),
            pattern=pattern,
            jobs=options.jobs,
            retries=options.retry_failed,
            on_event=self._hear if is_told else None,
        )

    def all(self) -> int:
        is_interrupted = False
        try:
            with (
                contextlib.closing(self._view),
                cancelling(self._view.close),
                contextlib.closing(self._batch.run()) as ends,
            ):
                for entry in ends:
                    self._end(entry)
        except KeyboardInterrupt:
            is_interrupted = True
        except OSError as exc:
            raise InvalidInput(
                f"{exc.filename or self._folder.path} cannot be written: {exc.strerror}. Nothing is lost: run it again"
                " when there is room.",
                f"无法写入 {exc.filename or self._folder.path}：{exc.strerror}。已完成的不会丢失，处理后请重新运行。",
            ) from exc
        self._sum_up(is_interrupted=is_interrupted)
        if is_interrupted:
            return exits.INTERRUPTED
        if self._batch.left:
            return exits.UNAVAILABLE
        return exits.of_several(_STATUSES[outcome] for outcome in self._batch.outcomes)

    def _label(self, number: int) -> str:
        return self._labels.get(number, str(number))

    def _hear(self, event: Event, row: Row) -> None:
        if row.number not in self._labels:
            self._labels[row.number] = short(f"{row.number} {row.name or row.parameters.get('prompt', '')}")
        self._view.hear(dataclasses.replace(event, row=row.number))

    def _end(self, entry: Entry) -> None:
        self._view.finish(entry["row"])
        self._labels.pop(entry["row"], None)
        while self._shown < self._batch.done_before:
            self._shown += 1
            self._view.finish(0)
        if self._json:
            facts = {name: value for name, value in entry.items() if name not in ("graphs", "content")}
            self._view.result(printing.document(facts, is_line=True))
            return
        for file in entry.get("files") or ():
            self._view.result(str(self._folder.path / file["path"]))
        if entry["outcome"] != SUCCEEDED:
            error = entry["error"]
            head = say(f"row {entry['row']}: {entry['outcome']}", f"第 {entry['row']} 行：{entry['outcome']}")
            self._view.note(f"{head}: {say(error['en'], error['zh'])}")

    def _sum_up(self, *, is_interrupted: bool) -> None:
        batch = self._batch
        told = batch.summary
        page = self._folder.path / sheet.NAME
        if self._json:
            facts = {"summary": told.as_json(), "sheet": str(page), "left": batch.left, "interrupted": is_interrupted}
            print(printing.document(facts, is_line=True), flush=True)
        elif not self._quiet:
            print(f"{as_table(told)}\n{page}", file=sys.stderr)
        if batch.no_server is not None and batch.left:
            _tell(printing.sentence(batch.no_server))
        if is_interrupted or batch.left:
            done = sum(batch.outcomes.values())
            total = self._plan.total
            _tell(
                say(
                    f"{done} of {total} rows are done; the same command goes on with the others.",
                    f"已完成 {done}/{total} 行；再次运行相同的命令即可继续。",
                )
            )


def as_table(told: Summary) -> str:
    """Outcomes in a line, then the times by template and server."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in told.outcomes.items())
    lines = [
        say(
            f"{told.success_rate:.1%} of {told.rows} rows: {counts}",
            f"{told.rows} 行，成功率 {told.success_rate:.1%}：{counts}",
        )
    ]
    cells = [("template", "server", "rows", "median", "p95")] if told.times else []
    cells += [
        (each.template, each.server, str(each.rows), f"{each.median_s:.1f} s", f"{each.p95_s:.1f} s")
        for each in told.times
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(5)] if cells else []
    for first, second, *numbers in cells:
        padded = (number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True))
        lines.append("  ".join((first.ljust(widths[0]), second.ljust(widths[1]), *padded)))
    return "\n".join(lines)


def _look(options: argparse.Namespace, plan: Plan) -> int:
    for row in plan.rows():
        facts: dict[str, Any] = {"row": row.number, "line": row.line, "name": row.name, **row.parameters}
        if options.json:
            print(printing.document({**facts, "error": row.mistake and row.mistake.en}, is_line=True))
        elif row.mistake is not None:
            print(_bad(row))
        else:
            said = ", ".join(
                f"{name} {value}" for name, value in facts.items() if name not in ("row", "line") and value
            )
            print(f"{row.number}: {said}")
    print(
        say(
            f"{plan.total} rows, {plan.bad} of them bad; nothing was sent.",
            f"共 {plan.total} 行，其中 {plan.bad} 行有误；未发送任何内容。",
        ),
        file=sys.stderr,
    )
    return exits.PROBLEMS if plan.bad else exits.SUCCEEDED


def _bad(row: Row) -> str:
    assert row.mistake is not None  # noqa: S101  # it is a bad one
    column = row.mistake.column
    where = say(f"line {row.line}", f"第 {row.line} 行") + (
        say(f", column {column}", f" {column} 列") if column else ""
    )
    return f"{where}: {say(row.mistake.en, row.mistake.zh)}"


def _bad_facts(row: Row) -> dict[str, Any]:
    assert row.mistake is not None  # noqa: S101  # it is a bad one
    error = {"en": row.mistake.en, "zh": row.mistake.zh, "line": row.line, "column": row.mistake.column}
    return {"row": row.number, "line": row.line, "name": row.name, "outcome": "rejected", "error": error}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

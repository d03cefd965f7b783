"""What commands print: paths and sentences for people, or JSON for programs."""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfybridge.api import Done, File, Result
from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.errors import ComfyError, TimedOut


def add(parser: argparse.ArgumentParser, *, is_progressing: bool = False) -> None:
    group = parser.add_argument_group(say("printing", "输出"))
    group.add_argument("--json", action="store_true", help=say("print JSON", "输出 JSON"))
    if is_progressing:
        group.add_argument("-q", "--quiet", action="store_true", help=say("show no progress", "不显示进度"))


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        default=".",
        metavar="DIR|NAME|PATTERN",
        help=say(
            "where to save: a folder, a file's name, or a pattern such as out/{seed}_{n}.png (default: here)",
            "保存位置：文件夹、文件名，或 out/{seed}_{n}.png 这样的模式（默认为当前文件夹）",
        ),
    )


def refuse(error: ComfyError, *, as_json: bool) -> int:
    """Print an error that ends the command, and give its exit status."""
    if as_json:
        print(document(error_facts(error)))
    else:
        print(sentence(error), file=sys.stderr)
    return exits.of_error(error)


def sentence(error: ComfyError) -> str:
    return say(*sentences(error))


def sentences(error: ComfyError) -> tuple[str, str]:
    """In English and Chinese; what is told of the tools in Dify is told of these commands."""
    if isinstance(error, TimedOut) and error.prompt_id:
        known = shlex.quote(error.prompt_id)
        english = f"Not finished in time; the job goes on in ComfyUI as {error.prompt_id}."
        chinese = f"未在规定时间内完成，任务 {error.prompt_id} 仍在 ComfyUI 中继续。"
        result, cancel = f"comfybridge result {known}", f"comfybridge cancel {known}"
        return (
            f"{english}\n  fetch it:  {result}\n  stop it:   {cancel}",
            f"{chinese}\n  取回结果：{result}\n  取消任务：{cancel}",
        )
    return str(error), error.zh


def error_facts(error: ComfyError) -> dict[str, Any]:
    return {
        "outcome": error.outcome,
        "prompt_id": error.prompt_id,
        "server": error.server,
        "error": dict(zip(("en", "zh"), sentences(error), strict=True)),
        "exit_status": exits.of_error(error),
    }


def result_facts(result: Result, paths: Sequence[Path]) -> dict[str, Any]:
    return {**result.facts(), "files": [_file(file, path) for file, path in zip(result.files, paths, strict=True)]}


def done_facts(done: Done[Any], paths: Sequence[Path], error: ComfyError | None) -> dict[str, Any]:
    facts = result_facts(done.result, paths) if done.result is not None and error is None else {}
    return {"row": done.index + 1, **facts, **(error_facts(error) if error is not None else {})}


def _file(file: File, path: Path) -> dict[str, Any]:
    return {"path": str(path), "mime": file.mime, "bytes": len(file.data)}


def document(facts: Mapping[str, Any] | Sequence[Any], *, is_line: bool = False) -> str:
    return json.dumps(facts, ensure_ascii=False, indent=None if is_line else 2)


def summary(result: Result) -> str:
    """One line about a result."""
    size = f"{result.width}×{result.height}, " if result.width and result.height else ""
    seed = f"seed {result.seed}, " if result.seed is not None else ""
    return f"{size}{seed}{result.template}, {result.seconds:.1f} s"

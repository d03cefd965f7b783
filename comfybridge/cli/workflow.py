"""``comfybridge workflow``: convert, inspect and check saved workflows."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comfybridge import inspection, library, preflight, template, workflow
from comfybridge.choosing import Lookup, converted
from comfybridge.client import Client
from comfybridge.convert import Conversion, read_saved
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput
from comfybridge.workflow import Definitions, Prompt

_ASK_S = 60.0
_PROBLEMS, _BAD_FILE = 1, 2


def add(group: argparse.ArgumentParser) -> None:
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    held = "a saved workflow, one in API format, or a picture or video by ComfyUI"

    summary = "turn saved workflows into prompts in API format"
    converting = actions.add_parser(
        "convert",
        help=summary,
        description=f"{summary.capitalize()}, as ComfyUI's own window would send them. Prints one JSON per line.",
    )
    converting.add_argument("files", nargs="+", type=Path, metavar="FILE", help=held)
    converting.add_argument(
        "-o",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="write DIR/<name>.json instead",
    )
    converting.add_argument(
        "--no-repair",
        action="store_true",
        help="send what ComfyUI's window sends, even garbage",
    )
    converting.set_defaults(run=_convert)

    summary = "show the named parameters of workflows: prompt, seed, size and so on"
    inspecting = actions.add_parser("inspect", help=summary, description=summary.capitalize() + ".")
    inspecting.add_argument("files", nargs="+", type=Path, metavar="FILE", help=held)
    inspecting.add_argument("--json", action="store_true", help="print JSON")
    inspecting.set_defaults(run=_inspect)

    summary = "tell what keeps a workflow from running on a server"
    checking = actions.add_parser("check", help=summary, description=summary.capitalize() + ".")
    checking.add_argument("files", nargs=1, type=Path, metavar="FILE", help=held)
    checking.add_argument("--has-key", action="store_true", help="the job will go with a comfy.org key")
    checking.add_argument("--json", action="store_true", help="print JSON")
    checking.set_defaults(run=_check)

    for action, needs_one in (
        (converting, True),
        (inspecting, False),
        (checking, True),
    ):
        source = action.add_mutually_exclusive_group(required=needs_one)
        source.add_argument("--server", metavar="URL", help="the ComfyUI whose node definitions count")
        source.add_argument(
            "--object-info",
            type=Path,
            metavar="FILE",
            help="what GET /object_info of that server answered",
        )


def _convert(options: argparse.Namespace) -> int:
    """Convert every file that can be; 2 when one could not."""
    status = 0
    try:
        with _definitions(options) as lookup:
            for path in options.files:
                try:
                    conversion = converted(
                        read_saved(path.read_bytes()),
                        lookup,
                        repair=not options.no_repair,
                    )
                    _deliver(path, conversion, options.folder)
                except (ComfyError, OSError) as mistake:
                    print(f"{path}: {_sentence(mistake)}", file=sys.stderr)
                    status = _BAD_FILE
    except (ComfyError, OSError) as mistake:
        print(f"comfybridge workflow convert: {_sentence(mistake)}", file=sys.stderr)
        return _BAD_FILE
    return status


def _inspect(options: argparse.Namespace) -> int:
    found: dict[str, Any] = {}
    status = 0
    for path in options.files:
        try:
            with _definitions(options) as lookup:
                prompt, definitions = _read_prompt(path, lookup)
            roles = workflow.trace(prompt, definitions)
            roles = template.bind(roles, library.read_bindings(path, prompt))
        except (ComfyError, OSError, ValueError) as mistake:
            status = _refuse(path, mistake)
            continue
        found[str(path)] = inspection.as_values(prompt, roles)
        if not options.json:
            heading = f"{path}\n" if len(options.files) > 1 else ""
            print(f"{heading}{inspection.as_table(prompt, roles)}\n")
    if options.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    return status


def _check(options: argparse.Namespace) -> int:
    (path,) = options.files
    try:
        with _definitions(options) as lookup:
            prompt, definitions = _read_prompt(path, lookup)
    except (ComfyError, OSError, ValueError) as mistake:
        return _refuse(path, mistake)
    repaired = preflight.repair(prompt, definitions)
    problems = preflight.check(repaired.prompt, definitions, has_key=options.has_key)
    if options.json:
        told = [
            {
                "node_id": problem.node_id,
                "title": problem.title,
                "input": problem.input,
                "code": problem.code,
                "en": problem.message_en,
                "zh": problem.message_zh,
            }
            for problem in problems
        ]
        notes = [{"en": english, "zh": chinese} for english, chinese in repaired.notes]
        print(json.dumps({"problems": told, "repaired": notes}, ensure_ascii=False, indent=2))
        return _PROBLEMS if problems else 0
    for english, chinese in repaired.notes:
        print(f"{english}\n    {chinese}")
    for problem in problems:
        print(f"{problem.message_en}\n    {problem.message_zh}")
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}.")
    return _PROBLEMS if problems else 0


@contextlib.contextmanager
def _definitions(options: argparse.Namespace) -> Iterator[Lookup]:
    """Where node definitions come from: the server, class by class, or a file, or nowhere."""
    if options.object_info is not None:
        try:
            recorded = read_saved(options.object_info.read_bytes())
        except InvalidInput:
            recorded = None
        if not isinstance(recorded, Mapping):
            raise InvalidInput(
                f"{options.object_info} holds no node definitions.", f"{options.object_info} 中没有节点定义。"
            )
        yield lambda _class_types, *, refresh=False: recorded  # noqa: ARG005  # a file says the same again
        return
    if options.server is None:
        yield _nowhere
        return
    if "://" not in options.server:
        raise InvalidInput(
            f"The address {options.server} lacks http:// or https://.",
            f"地址 {options.server} 缺少 http:// 或 https://。",
        )
    client = Client(options.server)
    try:
        yield lambda classes, *, refresh=False: client.definitions(classes, Deadline(_ASK_S), refresh=refresh)
    finally:
        client.close()


def _nowhere(class_types: Iterable[str], *, refresh: bool = False) -> Definitions:  # noqa: ARG001
    return {}


def _read_prompt(path: Path, lookup: Lookup) -> tuple[Prompt, Definitions]:
    """Read a file of any form as a prompt, with the definitions of its classes; what was put right goes to stderr."""
    saved = read_saved(path.read_bytes())
    if lookup is _nowhere and isinstance(saved, Mapping) and "nodes" in saved:
        raise InvalidInput(
            "it is a saved workflow: to convert it, name the server by --server URL or --object-info FILE.",
            "这是保存的工作流：请用 --server URL 或 --object-info FILE 指定服务器，以便转换。",
        )
    conversion = converted(saved, lookup, repair=True)
    for warning in conversion.warnings:
        print(f"{path}: {warning.message_en}", file=sys.stderr)
    return conversion.prompt, lookup(sorted(workflow.class_types(conversion.prompt)))


def _deliver(path: Path, conversion: Conversion, folder: Path | None) -> None:
    for warning in conversion.warnings:
        print(f"{path}: {warning.message_en}", file=sys.stderr)
    if folder is None:
        print(json.dumps(conversion.prompt))
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(conversion.prompt, indent=2, ensure_ascii=False)
    (folder / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")


def _sentence(mistake: ComfyError | OSError) -> str:
    return (mistake.strerror or str(mistake)) if isinstance(mistake, OSError) else str(mistake)


def _refuse(path: Path, mistake: Exception) -> int:
    print(f"{path}: {mistake}", file=sys.stderr)
    if isinstance(mistake, ComfyError):
        print(f"    {mistake.zh}", file=sys.stderr)
    return _BAD_FILE

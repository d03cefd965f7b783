"""The ``comfybridge`` command."""

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from comfybridge import preflight
from comfybridge.client import Client
from comfybridge.convert import Conversion, class_types, convert, read_saved
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput
from comfybridge.workflow import Definitions

_FETCH_S = 60.0

Lookup: TypeAlias = Callable[..., Definitions]
"""Class types, and ``refresh=True`` for those just fetched -> their definitions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status says whether it worked."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comfybridge", description="Text in, picture out, on ComfyUI.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_workflow(commands)
    _add_simulator(commands)
    return parser


def _add_workflow(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "work with saved workflows"
    workflow = commands.add_parser("workflow", help=summary, description=summary.capitalize() + ".")
    actions = workflow.add_subparsers(title="commands", required=True, metavar="COMMAND")
    summary = "turn saved workflows into prompts in API format"
    command = actions.add_parser(
        "convert",
        help=summary,
        description=f"{summary.capitalize()}, as ComfyUI's own window would send them. Prints one JSON per line.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON, or a picture or video by ComfyUI")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", metavar="URL", help="the ComfyUI that the prompt is for")
    source.add_argument(
        "--object-info", type=Path, metavar="FILE", help="what GET /object_info of that server answered"
    )
    command.add_argument("-o", dest="folder", type=Path, metavar="DIR", help="write DIR/<name>.json instead")
    command.add_argument("--no-repair", action="store_true", help="send what ComfyUI's window sends, even garbage")
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    """Convert every file that can be; 2 when one could not."""
    status = 0
    try:
        with _definitions(options) as lookup:
            for path in options.files:
                try:
                    conversion = _converted(path, lookup, repair=not options.no_repair)
                    _deliver(path, conversion, options.folder)
                except (ComfyError, OSError) as mistake:
                    print(f"{path}: {_sentence(mistake)}", file=sys.stderr)
                    status = 2
    except (ComfyError, OSError) as mistake:
        print(f"comfybridge workflow convert: {_sentence(mistake)}", file=sys.stderr)
        return 2
    return status


@contextlib.contextmanager
def _definitions(options: argparse.Namespace) -> Iterator[Lookup]:
    """Where node definitions come from: the server, class by class, or a file."""
    if options.server is None:
        recorded = read_saved(options.object_info.read_bytes())
        if not isinstance(recorded, dict):
            raise InvalidInput(f"{options.object_info} is no object_info.", f"{options.object_info} 不是 object_info。")
        yield lambda _class_types, **_: recorded
        return
    if "://" not in options.server:
        raise InvalidInput(
            f"The address {options.server} lacks http:// or https://.",
            f"地址 {options.server} 缺少 http:// 或 https://。",
        )
    client = Client(options.server)
    try:
        yield lambda class_types, **wishes: client.definitions(class_types, Deadline(_FETCH_S), **wishes)
    finally:
        client.close()


def _converted(path: Path, lookup: Lookup, *, repair: bool) -> Conversion:
    saved = read_saved(path.read_bytes())
    wanted = class_types(saved)
    definitions = lookup(sorted(wanted))
    if absent := wanted - definitions.keys():
        definitions = {**definitions, **lookup(sorted(absent), refresh=True)}
    conversion = convert(saved, definitions, repair=repair)
    if old := preflight.outdated(conversion.prompt, definitions):
        # A model or a pack may have been installed since.
        conversion = convert(saved, {**definitions, **lookup(sorted(old), refresh=True)}, repair=repair)
    return conversion


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


def _add_simulator(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "serve a ComfyUI stand-in that paints test cards"
    command = commands.add_parser("simulator", help=summary, description=summary.capitalize() + ".")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument("--port", type=int, default=8188, help="port; 0 takes a free one (default: %(default)s)")
    command.add_argument(
        "--work", type=float, default=1.0, metavar="SECONDS", help="how long a picture takes (default: %(default)s)"
    )
    command.add_argument(
        "--models", nargs="+", metavar="PRESET", help="z-image-turbo, sdxl, sd15, loras (default: all of them)"
    )
    command.add_argument("--previews", action="store_true", help="send latent previews")
    command.set_defaults(run=_simulator)


def _simulator(options: argparse.Namespace) -> int:
    # Here, since only this command needs aiohttp and Pillow.
    from comfybridge.simulator import Simulator  # noqa: PLC0415
    from comfybridge.simulator.simulator import DEFAULT_MODELS  # noqa: PLC0415

    try:
        simulator = Simulator(
            options.models or DEFAULT_MODELS,
            work=options.work,
            previews=options.previews,
            host=options.host,
            port=options.port,
        )
    except ValueError as mistake:
        print(f"comfybridge simulator: {mistake}")
        return 2
    stopped = threading.Event()
    try:
        with simulator:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            print(f"ComfyUI simulator at {simulator.url} (test cards, no diffusion model); Ctrl+C ends it", flush=True)
            # In pieces: on Windows a wait without an end cannot be interrupted.
            while not stopped.wait(1.0):
                pass
    except OSError as fault:
        print(f"comfybridge simulator: cannot listen on {options.host}:{options.port}: {fault.strerror}")
        return 1
    return 0

"""The ``comfybridge`` command."""

import argparse
import io
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfybridge import credentials, inspection, preflight, template, workflow
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput
from comfybridge.workflow import Definitions, Prompt

_ASK_S = 60.0
_PROBLEMS, _BAD_FILE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status says whether it worked."""
    for stream in (sys.stdout, sys.stderr):
        # A prompt may hold what a terminal cannot show; that is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comfybridge", description="Text in, picture out, on ComfyUI.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_simulator(commands)
    _add_workflow(commands)
    return parser


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


def _add_workflow(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "look into workflow files"
    group = commands.add_parser("workflow", help=summary, description=summary.capitalize() + ".")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")

    summary = "show the named parameters of workflows: prompt, seed, size and so on"
    inspect = actions.add_parser("inspect", help=summary, description=summary.capitalize() + ".")
    inspect.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a workflow in API format")
    inspect.set_defaults(run=_inspect)

    summary = "tell what keeps a workflow from running on a server"
    check = actions.add_parser("check", help=summary, description=summary.capitalize() + ".")
    check.add_argument("files", nargs=1, type=Path, metavar="FILE", help="a workflow in API format")
    check.add_argument("--has-key", action="store_true", help="the job will go with a comfy.org key")
    check.set_defaults(run=_check)

    for action, needs_one in ((inspect, False), (check, True)):
        source = action.add_mutually_exclusive_group(required=needs_one)
        source.add_argument("--server", metavar="URL", help="the ComfyUI whose node definitions count")
        source.add_argument(
            "--object-info", type=Path, metavar="FILE", help="node definitions, saved from /object_info"
        )
        action.add_argument("--json", action="store_true", help="print JSON")


def _inspect(options: argparse.Namespace) -> int:
    found: dict[str, Any] = {}
    status = 0
    for path in options.files:
        try:
            prompt = _read_prompt(path)
            roles = workflow.trace(prompt, _definitions(options, prompt))
            roles = template.bind(roles, template.read_bindings(path, prompt))
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
        prompt = _read_prompt(path)
        definitions = _definitions(options, prompt)
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


def _read_prompt(path: Path) -> Prompt:
    """Read a workflow file as a prompt; the one place where files of other formats are to be converted.

    Raises:
        InvalidInput: what the file holds is no workflow in API format.
        OSError: it cannot be read.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(f"it holds no JSON ({exc}).", f"文件不是 JSON（{exc}）。") from exc
    if isinstance(held, Mapping) and isinstance(held.get("prompt"), Mapping):
        held = held["prompt"]
    if isinstance(held, Mapping) and isinstance(held.get("nodes"), list):
        raise InvalidInput(
            "it is a saved workflow, not one in API format: export it with 'Export (API)'.",
            "这是保存的工作流，不是 API 格式：请用“导出（API）”导出。",
        )
    if not isinstance(held, Mapping) or not held:
        raise InvalidInput("it holds no workflow.", "文件中没有工作流。")
    for node_id, node in held.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("class_type"), str):
            raise InvalidInput(f"node {node_id} has no class_type.", f"节点 {node_id} 没有 class_type。")
        if not isinstance(node.get("inputs"), Mapping):
            raise InvalidInput(f"node {node_id} has no inputs.", f"节点 {node_id} 没有 inputs。")
    return held


def _definitions(options: argparse.Namespace, prompt: Prompt) -> Definitions:
    if options.object_info is not None:
        try:
            definitions = json.loads(options.object_info.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError):
            definitions = None
        if not isinstance(definitions, Mapping):
            raise InvalidInput(
                f"{options.object_info} holds no node definitions.", f"{options.object_info} 中没有节点定义。"
            )
        return definitions
    if options.server is None:
        return {}
    (address,) = credentials.read({"base_url": options.server}).base_urls[:1]
    client = Client(address)
    try:
        return client.definitions(workflow.class_types(prompt), Deadline(_ASK_S))
    finally:
        client.close()


def _refuse(path: Path, mistake: Exception) -> int:
    print(f"{path}: {mistake}", file=sys.stderr)
    if isinstance(mistake, ComfyError):
        print(f"    {mistake.zh}", file=sys.stderr)
    return _BAD_FILE

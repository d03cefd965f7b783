"""``comfybridge simulator``."""

import argparse
import json
import signal
import threading
from pathlib import Path


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s)",
    )
    command.add_argument(
        "--port",
        type=int,
        default=8188,
        help="port; 0 takes a free one (default: %(default)s)",
    )
    command.add_argument(
        "--work",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how long a picture takes (default: %(default)s)",
    )
    command.add_argument(
        "--models",
        nargs="+",
        metavar="PRESET",
        help="z-image-turbo, sdxl, sd15, loras (default: all of them)",
    )
    command.add_argument(
        "--workflows",
        type=Path,
        metavar="DIR",
        help="serve the .json files of a folder as the workflows that the server has saved",
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
            workflows=_saved_workflows(options.workflows) if options.workflows else {},
        )
    except (OSError, ValueError) as mistake:
        print(f"comfybridge simulator: {mistake}")
        return 2
    stopped = threading.Event()
    try:
        with simulator:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            print(
                f"ComfyUI simulator at {simulator.url} (test cards, no diffusion model); Ctrl+C ends it",
                flush=True,
            )
            # In pieces: on Windows a wait without an end cannot be interrupted.
            while not stopped.wait(1.0):
                pass
    except OSError as fault:
        print(f"comfybridge simulator: cannot listen on {options.host}:{options.port}: {fault.strerror}")
        return 1
    return 0


def _saved_workflows(folder: Path) -> dict[str, object]:
    if not folder.is_dir():
        raise ValueError(f"no folder {str(folder)!r}")
    saved = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            saved[path.relative_to(folder).as_posix()] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as fault:
            raise ValueError(f"{path} is not JSON: {fault}") from fault
    return saved

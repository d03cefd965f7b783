"""``comfybridge worker``."""

import argparse

from comfybridge.cli.language import say
from comfybridge.cli.serving import add_shared, log


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--comfyui", required=True, metavar="URL", help=say("the server", "服务器地址"))
    add_shared(command)
    command.set_defaults(run=_worker)


def _worker(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a worker stands on.
    from comfybridge.service import working  # noqa: PLC0415
    from comfybridge.service.worker.worker import Settings  # noqa: PLC0415

    log()
    settings = Settings(comfyui=options.comfyui, database=options.database, store=options.store, keep_s=options.keep)
    return working.worker(settings, with_parent=options.with_parent)

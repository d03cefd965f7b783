"""``comfybridge gateway``."""

import argparse

from comfybridge.cli.scheduling import add_keep, add_limit
from comfybridge.cli.serving import add_address, add_shared, log


def add(command: argparse.ArgumentParser) -> None:
    add_address(command)
    add_shared(command)
    add_keep(command)
    add_limit(command)
    command.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a gateway stands on.
    from comfybridge.service import serving  # noqa: PLC0415
    from comfybridge.service.limits import Limits  # noqa: PLC0415

    log()
    return serving.gateway(
        host=options.host,
        port=options.port,
        database=options.database,
        store=options.store,
        keep_s=options.keep,
        limits=Limits.of_pairs(options.limit),
        with_parent=options.with_parent,
    )

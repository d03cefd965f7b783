"""``comfybridge gateway``."""

import argparse

from comfybridge.cli.serving import add_address, add_shared, add_templates, log


def add(command: argparse.ArgumentParser) -> None:
    add_address(command)
    add_shared(command)
    add_templates(command)
    command.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a gateway stands on.
    from comfybridge.service import serving  # noqa: PLC0415

    log()
    return serving.gateway(
        host=options.host,
        port=options.port,
        database=options.database,
        store=options.store,
        keep_s=options.keep,
        templates=options.templates,
        with_parent=options.with_parent,
    )

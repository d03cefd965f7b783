"""``comfybridge gateway``."""

import argparse

from comfybridge.cli.serving import add_address, add_public, add_shared, log, refuse_without_keys


def add(command: argparse.ArgumentParser) -> None:
    add_address(command)
    add_public(command)
    add_shared(command)
    command.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a gateway stands on.
    from comfybridge.service import DATABASE_VARIABLE, serving  # noqa: PLC0415
    from comfybridge.service.gateway.state import Options  # noqa: PLC0415
    from comfybridge.service.keys import NoKeys  # noqa: PLC0415

    log()
    given = Options(
        public_url=options.public_url or "",
        link_s=options.links,
        largest_upload=options.largest_upload * 2**20,
        most_queued=options.most_queued,
    )
    try:
        return serving.gateway(
            host=options.host,
            port=options.port,
            database=options.database,
            store=options.store,
            keep_s=options.keep,
            options=given,
            with_parent=options.with_parent,
        )
    except NoKeys:
        return refuse_without_keys("gateway", options.host, f"--database … ({DATABASE_VARIABLE})")

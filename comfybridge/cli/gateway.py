"""``comfybridge gateway``."""

import argparse

from comfybridge.cli.alerts import add_alerts, alerts_of
from comfybridge.cli.scheduling import add_keep, add_limit
from comfybridge.cli.serving import (
    add_address,
    add_log,
    add_public,
    add_shared,
    add_templates,
    log,
    refuse_without_keys,
    told_if_unusable,
)


def add(command: argparse.ArgumentParser) -> None:
    add_address(command)
    add_public(command)
    add_shared(command)
    add_keep(command)
    add_limit(command)
    add_templates(command)
    add_alerts(command)
    add_log(command)
    command.set_defaults(run=told_if_unusable("gateway", _gateway))


def _gateway(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a gateway stands on.
    from comfybridge.service import DATABASE_VARIABLE, serving  # noqa: PLC0415
    from comfybridge.service.gateway.state import Options  # noqa: PLC0415
    from comfybridge.service.keys import NoKeys  # noqa: PLC0415
    from comfybridge.service.limits import Limits  # noqa: PLC0415

    log(options.log)
    given = Options(
        public_url=options.public_url or "",
        link_s=options.links,
        largest_upload=options.largest_upload * 2**20,
        most_queued=options.most_queued,
        templates=options.templates,
        limits=Limits.of_pairs(options.limit),
    )
    try:
        return serving.gateway(
            host=options.host,
            port=options.port,
            database=options.database,
            store=options.store,
            keep_s=options.keep,
            options=given,
            alerts=alerts_of(options),
            with_parent=options.with_parent,
        )
    except NoKeys:
        return refuse_without_keys("gateway", options.host, f"--database … ({DATABASE_VARIABLE})")

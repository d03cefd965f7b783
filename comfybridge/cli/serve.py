"""``comfybridge serve``."""

import argparse
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from comfybridge.cli import exits
from comfybridge.cli.alerts import add_alerts, alerts_of, as_arguments
from comfybridge.cli.language import say
from comfybridge.cli.scheduling import (
    add_folders,
    add_keep,
    add_limit,
    add_warm,
    limit_arguments,
    worker_arguments,
)
from comfybridge.cli.serving import (
    add_address,
    add_log,
    add_public,
    add_templates,
    log,
    public_arguments,
    refuse_without_keys,
    templates_arguments,
    told_if_unusable,
)


def add(command: argparse.ArgumentParser) -> None:
    server = say(
        "a server; may be repeated, and more come by `comfybridge servers add`",
        "一台服务器，可重复；也可用 `comfybridge servers add` 加入",
    )
    command.add_argument("--comfyui", action="append", default=[], metavar="URL", help=server)
    data = say("database, pictures and uploads", "数据库、图片和上传文件")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)
    elsewhere = say(
        "pictures and uploads elsewhere, such as s3://bucket/prefix", "图片和上传文件另存，如 s3://bucket/prefix"
    )
    command.add_argument("--store", metavar="URL", help=elsewhere)
    add_address(command)
    add_keep(command)
    add_limit(command)
    add_warm(command)
    add_folders(command)
    add_templates(command)
    add_public(command)
    add_alerts(command)
    add_log(command)
    command.set_defaults(run=told_if_unusable("serve", _serve))


def _serve(options: argparse.Namespace) -> int:
    # Here, since only this command needs what the service stands on.
    from comfybridge.service.keys import NoKeys  # noqa: PLC0415
    from comfybridge.service.serve import InUse, NoFolder, serve  # noqa: PLC0415

    log(options.log)
    alerts_of(options)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    folder = options.data.absolute()
    store = options.store or str(folder / "store")
    try:
        serve(
            folder,
            options.comfyui,
            host=options.host,
            port=options.port,
            store=store,
            stopping=stopping,
            of_all=["--log", options.log, "--keep", str(options.keep)],
            of_gateway=[
                *public_arguments(options),
                *templates_arguments(options),
                *as_arguments(options),
                *limit_arguments(options.limit),
            ],
            of_worker=partial(worker_arguments, options),
        )
    except NoKeys:
        return refuse_without_keys("serve", options.host, f"--data {options.data}")
    except NoFolder as mistake:
        sys.stderr.write(f"comfybridge serve: {say(str(mistake), mistake.zh)}\n")
        return exits.PROBLEMS
    except InUse:
        problem = say(f"another one serves from {folder} already.", f"已有另一个进程在使用 {folder}。")
        sys.stderr.write(f"comfybridge serve: {problem}\n")
        return exits.PROBLEMS
    return exits.SUCCEEDED

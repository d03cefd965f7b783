"""``comfybridge worker``."""

import argparse
import sys

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.cli.scheduling import add_folder, add_keep, add_warm
from comfybridge.cli.serving import add_log, add_shared, log, told_if_unusable


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--comfyui", required=True, metavar="URL", help=say("the server", "服务器地址"))
    add_shared(command)
    add_keep(command)
    add_warm(command)
    add_folder(command)
    add_log(command)
    check = say(
        "tell whether the worker of this server lives, by the exit status, and end",
        "检查该服务器的工作进程是否存活，以退出状态表示，然后结束",
    )
    command.add_argument("--check", action="store_true", help=check)
    command.set_defaults(run=told_if_unusable("worker", _worker))


def _worker(options: argparse.Namespace) -> int:
    # Here, since only this command needs what a worker stands on.
    from comfybridge.service import working  # noqa: PLC0415
    from comfybridge.service.worker.worker import Settings  # noqa: PLC0415

    if options.check:
        return _check(options)
    log(options.log)
    settings = Settings(
        comfyui=options.comfyui,
        database=options.database,
        store=options.store,
        keep_s=options.keep,
        warm=tuple(options.warm),
        folder=options.comfyui_dir,
        prune_after_s=options.prune_after,
    )
    return working.worker(settings, with_parent=options.with_parent)


def _check(options: argparse.Namespace) -> int:
    from comfybridge.service import heartbeats  # noqa: PLC0415  (as above)

    silent_s = heartbeats.silent_s(options.database, options.comfyui)
    if silent_s is None:
        # No reason to start the worker again: that would not bring the database back.
        sys.stderr.write(say("the database does not answer; nobody can tell.\n", "数据库没有响应，无法判断。\n"))
        return exits.SUCCEEDED
    if silent_s > heartbeats.LONGEST_S:
        sys.stderr.write(say("the worker is silent.\n", "工作进程没有响应。\n"))
        return exits.PROBLEMS
    return exits.SUCCEEDED

"""``comfybridge servers``."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.cli.serving import add_database, database_of, told_if_unusable
from comfybridge.cli.tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ACTIONS = {
    "add": ("take a server in", "加入一台服务器"),
    "pause": ("let a server take nothing new for a while", "暂停：暂不接受新任务"),
    "drain": ("let a server finish what it has, to be taken away", "排空：完成已有任务，准备撤下"),
    "resume": ("let a paused or draining server take jobs again", "恢复接受任务"),
    "remove": ("drain a server and end its worker", "排空并结束其工作进程"),
}
_COLUMNS = {
    "url": ("SERVER", "服务器"),
    "mode": ("MODE", "模式"),
    "health": ("HEALTH", "状态"),
    "running": ("RUNNING", "运行中"),
    "waiting": ("WAITING", "等待"),
    "models": ("MODELS", "模型数"),
    "heartbeat_s": ("HEARTBEAT", "心跳"),
    "loaded": ("LOADED", "已加载"),
    "reason": ("REASON", "原因"),
}


def add(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(title=say("what to do", "操作"), required=True, metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help=say("list the servers, and how each is", "列出服务器及其状态"))
    listing.add_argument("--json", action="store_true", help=say("print JSON", "输出 JSON"))
    add_database(listing)
    for action, words in _ACTIONS.items():
        one = actions.add_parser(action, help=say(*words))
        one.add_argument("url", metavar="URL", help=say("the server's address", "服务器地址"))
        add_database(one)
    command.set_defaults(run=told_if_unusable("servers", _servers))


def _servers(options: argparse.Namespace) -> int:
    # Here, since only this command needs the database.
    from comfybridge.service import changing, migrating  # noqa: PLC0415

    database = database_of(options)
    migrating.migrate(database)
    if options.action == "list":
        servers = changing.servers(database)
        print(json.dumps(servers, ensure_ascii=False, indent=2) if options.json else _table(servers))
        return exits.SUCCEEDED
    change = changing.change(database, options.action, options.url)
    if change is None:
        problem = say(f"there is no server {options.url}.", f"没有服务器 {options.url}。")
        sys.stderr.write(f"comfybridge servers: {problem}\n")
        return exits.PROBLEMS
    print(say(*change.sentences))
    return exits.SUCCEEDED


def _table(servers: "Sequence[Mapping[str, Any]]") -> str:
    if not servers:
        return say("No server yet: comfybridge servers add URL", "还没有服务器：comfybridge servers add URL")
    reason = say("reason", "reason_zh")
    rows = [[say(*heads) for heads in _COLUMNS.values()]]
    rows += [[*(_cell(server[name]) for name in list(_COLUMNS)[:-1]), server[reason]] for server in servers]
    return table(rows)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case list():
            return ", ".join(value) or "-"
        case float():
            return f"{value:.0f} s"
    return str(value)

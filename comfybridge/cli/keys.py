"""``comfybridge keys``: who may use the service, and how much."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.cli.serving import add_database, database_of, told_if_unusable
from comfybridge.cli.tables import table
from comfybridge.service import priorities

_NONE = "none"
_COLUMNS = {
    "name": ("NAME", "名称"),
    "admin": ("ADMIN", "管理员"),
    "priority": ("PRIORITY", "优先级"),
    "rate": ("RATE", "每分钟"),
    "running": ("RUNNING", "同时运行"),
    "queued": ("QUEUED", "同时排队"),
    "pixels": ("PIXELS", "像素"),
    "templates": ("TEMPLATES", "模板"),
    "created": ("CREATED", "创建时间"),
    "revoked": ("REVOKED", "吊销时间"),
}


def add(command: argparse.ArgumentParser) -> None:
    verbs = command.add_subparsers(title=say("what to do", "操作"), required=True, metavar="ACTION")
    adding = _verb(verbs, "add", say("make a key; it is shown once", "创建密钥，仅显示一次"), _add)
    _add_name(adding)
    _add_values(adding)
    listing = _verb(verbs, "list", say("list the keys", "列出密钥"), _list)
    listing.add_argument("--json", action="store_true", help=say("print JSON", "输出 JSON"))
    changing = _verb(verbs, "set", say("change what a key may do", "修改密钥的权限"), _set)
    _add_name(changing)
    _add_values(changing)
    revoking = _verb(verbs, "revoke", say("end a key, at once and for good", "立即永久吊销密钥"), _revoke)
    _add_name(revoking)
    renewing = _verb(
        verbs, "renew-links", say("sign links with a new secret from now on", "此后用新的密钥签名链接"), _renew
    )
    signed = _verb(verbs, "webhook", say("show the secret of a key's webhook", "显示密钥的 webhook 签名密钥"), _webhook)
    _add_name(signed)
    another = say("make another one, which counts from now on", "更换签名密钥，立即生效")
    signed.add_argument("--renew", action="store_true", help=another)
    at_once = say("and let those of the old one open nothing any more", "并使旧链接立即失效")
    renewing.add_argument("--at-once", action="store_true", help=at_once)


def _add_name(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help=say("whose it is", "密钥名称"))


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_database(verb)
    verb.set_defaults(run=told_if_unusable("keys", run))
    return verb


def _add_values(verb: argparse.ArgumentParser) -> None:
    """What a key may do; what is not named stays as it is."""
    absent = argparse.SUPPRESS
    may = say("it may do everything to everybody's jobs and servers", "可管理所有任务和服务器")
    verb.add_argument("--admin", action=argparse.BooleanOptionalAction, default=absent, help=may)
    first = say("whose jobs go first", "任务优先级")
    verb.add_argument("--priority", choices=priorities.NAMES, default=absent, help=first)
    limits = {
        "rate": say("prompts a minute", "每分钟提交的任务数"),
        "running": say("jobs that run at once", "同时运行的任务数"),
        "queued": say("jobs that wait at once", "同时排队的任务数"),
        "pixels": say("pixels that one node may be told to make", "单个节点生成的像素数上限"),
    }
    for name, meaning in limits.items():
        or_none = say(f"{meaning}, or none", f"{meaning}，或 none")
        verb.add_argument(f"--{name}", type=_limit, default=absent, metavar="N", help=or_none)
    only = say("a template that it may use, or none for all; may be repeated", "允许使用的模板，none 为不限，可重复")
    verb.add_argument("--template", action="append", dest="templates", default=absent, metavar="NAME", help=only)
    told = say("an address that is told of each job's end, or none", "任务结束时通知的地址，或 none")
    verb.add_argument("--webhook", default=absent, metavar="URL", help=told)


def _limit(text: str) -> int | None:
    try:
        return None if text == _NONE else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(say("a number from 1, or none", "应为不小于 1 的整数，或 none")) from None


def _values(options: argparse.Namespace) -> dict[str, Any]:
    names = ("admin", "priority", "rate", "running", "queued", "pixels", "templates", "webhook")
    values = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if values.get("templates") == [_NONE]:
        values["templates"] = None
    if values.get("webhook") == _NONE:
        values["webhook"] = ""
    return values


def _add(options: argparse.Namespace) -> int:
    from comfybridge.service import keys  # noqa: PLC0415  (only these commands need the database)

    def make(connection: Any) -> int:
        try:
            _, text = keys.add(connection, options.name, _values(options))
        except keys.Taken:
            return _refuse(
                say(f"there is a key {options.name!r} already", f"密钥 {options.name!r} 已存在"), exits.PROBLEMS
            )
        sys.stderr.write(say("Keep it: it is shown this once.\n", "请妥善保存，仅显示这一次。\n"))
        print(text)
        return exits.SUCCEEDED

    return _on_database(options, make)


def _list(options: argparse.Namespace) -> int:
    from comfybridge.service import keys  # noqa: PLC0415

    def tell(connection: Any) -> int:
        known = [keys.facts(key) for key in keys.listed(connection)]
        if options.json:
            print(json.dumps(known, ensure_ascii=False, indent=2))
            return exits.SUCCEEDED
        if not known:
            print(say("No key yet: comfybridge keys add NAME", "还没有密钥：comfybridge keys add NAME"))
            return exits.SUCCEEDED
        headings = [say(*each) for each in _COLUMNS.values()]
        print(table([headings, *([_shown(one[name]) for name in _COLUMNS] for one in known)]))
        return exits.SUCCEEDED

    return _on_database(options, tell)


def _set(options: argparse.Namespace) -> int:
    from comfybridge.service import keys  # noqa: PLC0415

    def change(connection: Any) -> int:
        return exits.SUCCEEDED if keys.change(connection, options.name, _values(options)) else _no_such(options.name)

    return _on_database(options, change)


def _revoke(options: argparse.Namespace) -> int:
    from comfybridge.service import keys  # noqa: PLC0415

    return _on_database(
        options,
        lambda connection: exits.SUCCEEDED if keys.revoke(connection, options.name) else _no_such(options.name),
    )


def _webhook(options: argparse.Namespace) -> int:
    from comfybridge.service import endpoints  # noqa: PLC0415

    def show(connection: Any) -> int:
        found = (endpoints.renew if options.renew else endpoints.of_key)(connection, options.name)
        if found is None:
            return _no_such(options.name)
        if not found.url:
            sys.stderr.write(say("This key has no webhook yet.\n", "该密钥尚未设置 webhook。\n"))
        elif found.is_gone:
            sys.stderr.write(say("Its webhook answered 410: it is closed.\n", "该 webhook 返回 410，已停用。\n"))
        print(found.secret)
        return exits.SUCCEEDED

    return _on_database(options, show)


def _renew(options: argparse.Namespace) -> int:
    from comfybridge.service.signing import rotate  # noqa: PLC0415

    def renew(connection: Any) -> int:
        rotate(connection, at_once=options.at_once)
        return exits.SUCCEEDED

    return _on_database(options, renew)


def _on_database(options: argparse.Namespace, act: Callable[[Any], int]) -> int:
    """Do something on a connection; what a key cannot have ends it by a sentence."""
    from comfybridge.service import database, keys, migrating  # noqa: PLC0415

    url = database_of(options)
    try:
        migrating.migrate(url)
        with database.durable(url) as connection:
            return act(connection)
    except keys.BadValue as exc:
        return _refuse(say(str(exc), exc.zh), exits.USAGE)


def _no_such(name: str) -> int:
    return _refuse(say(f"there is no key {name!r}", f"没有密钥 {name!r}"), exits.PROBLEMS)


def _refuse(problem: str, status: int) -> int:
    sys.stderr.write(f"comfybridge keys: {problem}\n")
    return status


def _shown(value: Any) -> str:
    match value:
        case None | False:
            return "-"
        case True:
            return say("yes", "是")
        case list():
            return ",".join(value) or "(none)"
    text = str(value)
    return text[:19] if "T" in text[10:11] else text

"""``comfybridge versions``."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from comfybridge.cli import exits
from comfybridge.cli.language import say
from comfybridge.cli.serving import add_database, database_of, folder, told_if_unusable
from comfybridge.cli.tables import table

_LONGEST = 24 * 366


def add(command: argparse.ArgumentParser) -> None:
    add_database(command)
    window = say(
        "count the runs of so many hours instead of the latest ones (as the thresholds do)",
        "统计最近若干小时的运行，而不是（如阈值那样）最近若干次",
    )
    command.add_argument("--hours", type=_hours, metavar="N", help=window)
    check = say(
        "look whether a folder of templates and its rollout.yaml are right, and do nothing else",
        "只检查模板文件夹及其 rollout.yaml 是否正确",
    )
    command.add_argument("--check", type=folder, metavar="DIR", help=check)
    command.add_argument("--json", action="store_true", help=say("print JSON", "输出 JSON"))
    command.set_defaults(run=told_if_unusable("versions", _versions))


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours < _LONGEST:
        raise argparse.ArgumentTypeError(say(f"{text!r} is no number of hours", f"{text!r} 不是有效的小时数"))
    return hours


def _versions(options: argparse.Namespace) -> int:
    if options.check is not None:
        return _check(options.check)
    # Here, since only this command needs what the figures stand on.
    from comfybridge.service import database, migrating, standings  # noqa: PLC0415

    url = database_of(options)
    migrating.migrate(url)
    with database.durable(url) as connection:
        known = standings.standings(connection, hours=options.hours)
    if options.json:
        facts = [{**dataclasses.asdict(each), "success": each.figures.success} for each in known]
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        print(table([_headings(), *map(_row, known)]))
    return exits.SUCCEEDED


def _check(templates: Path) -> int:
    from comfybridge.service.templates import BadTemplates, load, read  # noqa: PLC0415

    try:
        found = read(load(templates))
    except BadTemplates as exc:
        for sentence in exc.problems:
            print(say(*sentence))
        return exits.PROBLEMS
    ours = [each.full_name for of in found.versions.values() for each in of.values() if not each.is_built_in]
    names = ", ".join(sorted(ours))
    print(say(f"All right: {names or 'no templates'}.", f"没有问题：{names or '没有模板'}。"))
    return exits.SUCCEEDED


def _headings() -> list[str]:
    english = ["TEMPLATE", "VERSION", "GETS", "RUNS", "SUCCESS", "MEDIAN", "P95"]
    return [
        say(*pair) for pair in zip(english, ["模板", "版本", "分配", "次数", "成功率", "中位数", "P95"], strict=True)
    ]


def _row(each: Any) -> list[str]:
    figures = each.figures
    success = f"{figures.success:.0%}" if figures.success is not None else "-"
    return [
        each.template,
        each.version,
        _gets(each),
        str(figures.runs),
        success,
        *map(_s, (figures.median_s, figures.p95_s)),
    ]


def _gets(each: Any) -> str:
    if each.rolled_back is not None:
        return say("rolled back", "已回滚")
    share = f"{each.share:g} %" if each.share else ""
    parts = [say("stable", "稳定") if each.is_stable else "", share, *each.keys]
    return " ".join(filter(None, parts)) or "-"


def _s(seconds: float | None) -> str:
    return f"{seconds:.1f} s" if seconds is not None else "-"

"""``comfybridge templates``."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from comfybridge import library
from comfybridge.api import Comfy
from comfybridge.api.connecting import read_templates
from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_server, add_templates_dir, connected
from comfybridge.cli.language import is_chinese, say
from comfybridge.errors import ComfyError
from comfybridge.template import TASKS, Template


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help=say("tell all of one", "显示某个模板的详情"))
    parser.add_argument(
        "--task",
        choices=TASKS,
        metavar="TASK",
        help=say(f"only those for {', '.join(TASKS)}", f"只列出某类：{'、'.join(TASKS)}"),
    )
    add_templates_dir(parser)
    add_server(parser)
    printing.add(parser)
    parser.set_defaults(run=_templates)


def _templates(options: argparse.Namespace) -> int:
    try:
        others = read_templates(options.templates_dir)
        known = [*library.templates(), *others]
        if options.name:
            known = [_found(options.name, known, others)]
        if options.task:
            known = [each for each in known if each.task == options.task]
        lacks = None
        if options.server or os.environ.get("COMFYUI_URL"):
            with connected(options) as comfy:
                lacks = _lacks(comfy)
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    known.sort(key=lambda each: (TASKS.index(each.task), each.order is None, each.order or 0, each.name))
    if options.json:
        print(printing.document([_facts(each, lacks) for each in known]))
    elif options.name:
        print(_described(known[0], lacks))
    else:
        print(_listed(known, lacks))
    return exits.SUCCEEDED


def _found(name: str, known: list[Template], others: tuple[Template, ...]) -> Template:
    template = library.find(name, others)
    if template is None:
        raise library.unknown(name, [each.name for each in known])
    return template


def _lacks(comfy: Comfy) -> Mapping[str, tuple[str, ...]]:
    """By template, what every server lacks for it; of several servers, what the one that lacks least does.

    Raises:
        Unavailable: no server answers.
    """
    states = comfy.servers()
    answering = [state for state in states if state.error is None]
    if not answering and (silent := states[0].error) is not None:
        raise silent
    found: dict[str, tuple[str, ...]] = {}
    for state in answering:
        each = dict.fromkeys(state.can_run, ()) | {one.template.name: one.lacks for one in state.lacking}
        found = {name: min(lacks, found.get(name, lacks), key=len) for name, lacks in each.items()}
    return found


def _facts(template: Template, lacks: Mapping[str, tuple[str, ...]] | None) -> dict[str, Any]:
    facts = {
        "name": template.full_name,
        "task": template.task,
        "auto": template.order,
        "title": dict(template.title),
        "about": dict(template.about),
        "comfyui": template.comfyui,
        "custom_nodes": list(template.custom_nodes),
        "files": [
            {"path": f"{each.folder}/{each.file}", "huggingface": each.huggingface, "modelscope": each.modelscope}
            for each in template.requires
        ],
    }
    if lacks is not None:
        facts |= {"can_run": not lacks[template.name], "lacks": list(lacks[template.name])}
    return facts


def _listed(known: list[Template], lacks: Mapping[str, tuple[str, ...]] | None) -> str:
    lines: list[str] = []
    width = max((len(each.name) for each in known), default=0)
    for task in dict.fromkeys(each.task for each in known):
        lines += ["", task] if lines else [task]
        for each in (each for each in known if each.task == task):
            files = ", ".join(required.file for required in each.requires) or say("no model file", "无需模型文件")
            mark = ""
            if lacks is not None:
                mark = "✗ " if lacks[each.name] else "✓ "
                files = say("lacks ", "缺少 ") + ", ".join(lacks[each.name]) if lacks[each.name] else files
            lines.append(f"  {mark}{each.name:<{width}}  {files}")
    return "\n".join(lines)


def _described(template: Template, lacks: Mapping[str, tuple[str, ...]] | None) -> str:
    language = "zh_Hans" if is_chinese() else "en_US"
    lines = [
        f"{template.full_name}: {template.title.get(language, template.name)}",
        template.about.get(language, ""),
        say(
            f"task {template.task}, ComfyUI {template.comfyui} or later",
            f"类型 {template.task}，ComfyUI {template.comfyui} 及以上",
        ),
    ]
    for each in template.requires:
        lines += [f"  models/{each.folder}/{each.file}", f"    {each.huggingface}", f"    {each.modelscope}"]
    if template.custom_nodes:
        lines.append(say("custom nodes: ", "自定义节点：") + ", ".join(template.custom_nodes))
    if lacks is not None:
        missing = ", ".join(lacks[template.name])
        lines.append(
            say(f"The server lacks {missing}.", f"服务器缺少 {missing}。")
            if missing
            else say("The server can run it.", "服务器可以运行。")
        )
    return "\n".join(filter(None, lines))

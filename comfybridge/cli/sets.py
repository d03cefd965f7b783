"""``comfybridge product``, ``social`` and ``design``: sets of pictures for real work."""

import argparse
from collections.abc import Sequence

from comfybridge.batch import plan
from comfybridge.batch.naming import slug
from comfybridge.batch.sets import ShotSet, only
from comfybridge.batch.things import find_set, is_file, things
from comfybridge.cli import batching, printing
from comfybridge.cli.language import say
from comfybridge.errors import ComfyError
from comfybridge.pictures import FORMATS
from comfybridge.template import Template

_GIVEN = {
    "product": ("FILE", "products, as CSV, TSV, JSON, JSON Lines or YAML", "商品：CSV、TSV、JSON、JSONL 或 YAML"),
    "social": ("FILE|TOPIC", "topics, in a file or as they are", "主题：文件或直接填写"),
    "design": (
        "BRIEF",
        "a brief, as YAML, JSON or text, in a file or as it is",
        "简报：YAML、JSON 或文本，文件或直接填写",
    ),
}


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of either; which one it is, is the last word of the parser's name."""
    name = parser.prog.split()[-1]
    metavar, english, chinese = _GIVEN[name]
    parser.add_argument("given", nargs="+", metavar=metavar, help=say(english, chinese))
    parser.add_argument(
        "--shots",
        default=name,
        metavar="FILE.yaml",
        help=say("a set of your own in place of ours, see docs/batch.md", "使用自定义的素材集，见 docs/batch.md"),
    )
    parser.add_argument(
        "--only", action="append", metavar="SHOT", help=say("only this shot; may be repeated", "只生成此项；可重复")
    )
    parser.add_argument("--template", metavar="NAME", help=say("a template (default: auto)", "模板名（默认 auto）"))
    parser.add_argument("--model", metavar="NAME", help=say("a model file of the server", "服务器上的模型"))
    parser.add_argument("--format", choices=FORMATS, help=say("how to get pictures", "图片格式"))
    batching.add(parser, pattern="{name}_{seed}.png")
    parser.set_defaults(run=_make, set_name=name)


def _make(options: argparse.Namespace) -> int:
    try:
        shown = find_set(options.shots)
        if options.only:
            shown = only(shown, options.only)
        made_of = things(options.given, shown)
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    typed = {name: getattr(options, name) for name in ("template", "model", "format")}

    def planned(_templates: Sequence[Template]) -> plan.Plan:
        return plan.of_set(shown, made_of, {name: value for name, value in typed.items() if value})

    return batching.made(options, _called(options, shown), planned)


def _called(options: argparse.Namespace, shown: ShotSet) -> str:
    given = options.given[0]
    stem = given.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] if is_file(given) else slug(given, 40)
    return f"{shown.name}-{stem}"

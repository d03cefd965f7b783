"""``comfybridge batch``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from comfybridge.batch import naming, plan, tables
from comfybridge.cli import batching
from comfybridge.cli.language import say
from comfybridge.cli.wishes import add_wishes, read_wishes
from comfybridge.template import Template


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=say(
            "CSV, TSV or JSON Lines with a column prompt, and others named as the options below; or .txt, one prompt"
            " a line",
            "CSV、TSV 或 JSONL，含 prompt（提示词）列，其余列与下列选项同名；也可用 .txt，每行一个提示词",
        ),
    )
    batching.add(parser, pattern=naming.DEFAULT)
    add_wishes(parser, has_key=False)
    parser.set_defaults(run=_batch)


def _batch(options: argparse.Namespace) -> int:
    def planned(templates: Sequence[Template]) -> plan.Plan:
        return plan.of_table(tables.open_table(options.file), read_wishes(options), templates)

    return batching.made(options, options.file.stem, planned)

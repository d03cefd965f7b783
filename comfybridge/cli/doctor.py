"""``comfybridge doctor``: every check of every server, with a sentence to fix what is wrong."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from comfybridge.api.connecting import read_templates
from comfybridge.cli import exits, printing
from comfybridge.cli.connecting import add_server, add_templates_dir, headers
from comfybridge.cli.language import say
from comfybridge.cli.progress import is_lively
from comfybridge.diagnosis import Finding, examine
from comfybridge.diagnosis.examination import PATIENCE_S
from comfybridge.diagnosis.findings import NAMES
from comfybridge.errors import ComfyError
from comfybridge.inspection import columns

_MARKS = {"ok": ("ok", 32), "warn": ("warn", 33), "fail": ("FAIL", 31), "skipped": ("-", 2)}
"""What stands for a state, and its ANSI colour."""
_INDENT, _NARROWEST = 20, 40
_PIECE = re.compile(r"[\u2e80-\uffef][，。：；、）”]*|[^\s\u2e80-\uffef]+[，。：；、）”]*\s*|\s+")
"""What is kept on one line: a Chinese character with the punctuation after it, or a word."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", nargs="*", help=say("the servers (default: COMFYUI_URL)", "服务器地址（默认取 COMFYUI_URL）")
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=say(
            "try whether a file can be stored; one of 67 bytes stays in ComfyUI's input folder",
            "测试能否保存文件；会在 ComfyUI 的 input 文件夹留下一个 67 字节的文件",
        ),
    )
    add_templates_dir(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=PATIENCE_S,
        metavar="SECONDS",
        help=say("how long each check may wait (default: %(default)g)", "每项检查最多等待的秒数（默认 %(default)g）"),
    )
    add_server(parser)
    printing.add(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    urls = [*options.url, *(options.server or ())]
    urls = urls or [url for url in os.environ.get("COMFYUI_URL", "").split(",") if url.strip()]
    if not urls:
        print(
            say("No server: give its address, or set COMFYUI_URL.", "没有服务器：请给出地址，或设置 COMFYUI_URL。"),
            file=sys.stderr,
        )
        return exits.USAGE
    try:
        others = read_templates(options.templates_dir)
        common = {
            "api_key": options.api_key or os.environ.get("COMFYUI_API_KEY"),
            "headers": json.dumps(headers(options)) if options.header else "",
            "verify_tls": not options.insecure,
        }
    except ComfyError as exc:
        return printing.refuse(exc, as_json=options.json)
    told = []
    has_failed = False
    for number, url in enumerate(urls):
        findings = examine({"base_url": url, **common}, others=others, writes=options.write, patience_s=options.timeout)
        if options.json:
            kept = list(findings)
            told.append(_facts(kept))
        else:
            if number:
                print()
            kept = list(_printed(findings))
        has_failed = has_failed or any(finding.state == "fail" for finding in kept)
    if options.json:
        print(printing.document(told))
    return exits.PROBLEMS if has_failed else exits.SUCCEEDED


def _facts(findings: list[Finding]) -> Mapping[str, Any]:
    address = next((each.said[0] for each in findings if each.name == "address" and each.state == "ok"), None)
    return {
        "server": address,
        "is_usable": not any(each.state == "fail" for each in findings),
        "checks": [
            {
                "name": each.name,
                "state": each.state,
                "said": dict(zip(("en", "zh"), each.said, strict=True)),
                "fix": dict(zip(("en", "zh"), each.fix, strict=True)) if each.fix else None,
                "details": [detail[0] for detail in each.details],
            }
            for each in findings
        ],
    }


def _printed(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Print each finding as soon as it is known."""
    is_coloured = is_lively(sys.stdout, os.environ) and not os.environ.get("NO_COLOR")
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        head = f"{mark:<5} "
        head = f"\x1b[{colour}m{head}\x1b[0m" if is_coloured else head
        name = say(*NAMES[finding.name])
        print(f"{head}{name}{' ' * (_INDENT - 6 - columns(name))}{_wrapped(say(*finding.said))}", flush=True)
        if finding.fix is not None:
            print(f"{'':{_INDENT}}{_wrapped('→ ' + say(*finding.fix))}", flush=True)
        for detail in finding.details:
            print(f"{'':{_INDENT}}{_wrapped('· ' + say(*detail))}", flush=True)
        yield finding


def _wrapped(text: str) -> str:
    """Lines no wider than the terminal, the second and further ones indented; Chinese breaks anywhere."""
    if not sys.stdout.isatty():
        return text
    width = max(_NARROWEST, shutil.get_terminal_size().columns - _INDENT)
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and columns(lines[-1]) + columns(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return f"\n{'':{_INDENT}}".join(line.rstrip() for line in lines)

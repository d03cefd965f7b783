"""The contact sheet: one page beside the pictures that asks for nothing from elsewhere."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from comfybridge.batch.summary import SUCCEEDED, Summary

NAME = "index.html"

_HERE = Path(__file__).parent
# Nothing but what lies beside the page and what is in it.
_POLICY = (
    "default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def page(title: str, entries: Iterable[Mapping[str, Any]], summary: Summary) -> Iterator[str]:
    """The page in pieces; ``entries`` are lines of a manifest, in the order that they are shown in."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    choices = "".join(f'<option value="{escape(each)}">{escape(each)}</option>' for each in summary.outcomes)
    yield f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
{(_HERE / "sheet.css").read_text(encoding="utf-8")}</style>
<header>
<h1>{escape(title)} <small>{escape(counts)}</small></h1>
<form role="search">
<input type="search" placeholder="prompt, name, seed … 筛选" aria-label="Filter 筛选">
<select aria-label="Outcome 结果"><option value="">all 全部</option>{choices}</select>
<output></output>
</form>
</header>
<main>
"""
    for entry in entries:
        yield _card(entry)
    yield f"""</main>
<script>
{(_HERE / "sheet.js").read_text(encoding="utf-8")}</script>
</html>
"""


def _card(entry: Mapping[str, Any]) -> str:
    parameters = entry.get("parameters") or {}
    prompt = str(parameters.get("prompt") or "")
    files = "".join(_file(file, prompt) for file in entry.get("files") or ())
    name = f" · {escape(str(entry['name']))}" if entry.get("name") else ""
    size = f"{entry['width']} × {entry['height']}" if entry.get("width") and entry.get("height") else ""
    seed = f"seed {entry['seed']}" if entry.get("seed") is not None else ""
    took = f"{entry['seconds']:.1f} s" if entry.get("seconds") else ""
    facts = " · ".join(escape(each) for each in (seed, str(entry.get("template") or ""), size, took) if each)
    outcome = str(entry["outcome"])
    return (
        f'<article data-outcome="{escape(outcome)}">'
        + (f'<div class="files">{files}</div>' if files else "")
        + f'<div class="said"><p class="row">#{entry["row"]}{name}</p>'
        + (f'<p class="prompt" tabindex="0" title="{escape(prompt)}">{escape(prompt)}</p>' if prompt else "")
        + (_reason(outcome, entry.get("error") or {}) if outcome != SUCCEEDED else "")
        + (f'<p class="facts">{facts}</p>' if facts else "")
        + "</div></article>\n"
    )


def _file(file: Mapping[str, Any], prompt: str) -> str:
    path, kind = str(file["path"]), str(file.get("mime") or "").partition("/")[0]
    link = escape(quote(path))
    if kind == "image":
        sides = f' width="{file["width"]}" height="{file["height"]}"' if file.get("width") else ""
        what = f'src="{link}" alt="{escape(prompt[:200])}"{sides}'
        return f'<a href="{link}"><img {what} loading="lazy" decoding="async"></a>'
    if kind in ("video", "audio"):
        return f'<{kind} src="{link}" controls preload="none"></{kind}>'
    return f'<a class="file" href="{link}">{escape(path)}</a>'


def _reason(outcome: str, error: Mapping[str, Any]) -> str:
    where = f"line {error['line']}" if error.get("line") else ""
    where += f", column {error['column']}" if error.get("column") else ""
    english = ": ".join(filter(None, (where, str(error.get("en") or ""))))
    chinese = f'<span lang="zh">{escape(str(error.get("zh") or ""))}</span>'
    return f'<p class="bad" tabindex="0">{escape(outcome)}: {escape(english)} {chinese}</p>'

# ruff: noqa: INP001 (a script; the folder is no package)
"""Write the table of all templates into docs/templates.md, from their sidecars and graphs.

``python scripts/library_table.py [DOCUMENT]``
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from comfybridge import library
from comfybridge.template import TASKS, RequiredFile, Template

DOCUMENT = Path(__file__).parents[1] / "docs" / "templates.md"
_BEGIN, _END = "<!-- library: make table -->\n", "<!-- end of library -->"
_HEADINGS = {
    "text2image": "Pictures from text",
    "image2image": "Pictures from pictures",
    "inpaint": "Parts of a picture painted anew",
    "upscale": "Larger, smaller and cropped pictures",
    "text2video": "Videos from text",
    "image2video": "Videos from pictures",
    "text2audio": "Sound from text",
    "image2model": "3D models from pictures",
}


def tables() -> str:
    """Markdown: for every task a heading and a table, in the order in which ``auto`` tries the templates."""
    return "\n".join(line for task in TASKS for line in _table(task))


def written(document: str) -> str:
    """The document with the tables of today between its two markers."""
    before, rest = document.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def _table(task: str) -> Iterator[str]:
    made = [each for each in library.templates() if each.task == task]
    if not made:
        return
    yield f"### {_HEADINGS[task]} (`{task}`)\n"
    yield "| Template | What it makes | Values of its own | Model files | ComfyUI |"
    yield "|---|---|---|---|---|"
    for each in sorted(made, key=lambda each: (each.order is None, each.order or 0, each.name)):
        yield f"| {' | '.join(_cells(each))} |"
    yield ""


def _cells(each: Template) -> Iterator[str]:
    auto = f" (`auto`: {each.order})" if each.order is not None else ""
    yield f"`{each.name}`{auto}"
    yield f"**{each.title['en_US']}.** {each.about['en_US']}"
    yield ", ".join(f"`{name}`" for name in each.roles({}).named)
    yield "; ".join(_files(each))
    yield each.comfyui


def _files(each: Template) -> Iterator[str]:
    def pages(file: RequiredFile) -> tuple[str, str]:
        return file.huggingface, file.modelscope

    for (huggingface, modelscope), files in groupby(each.requires, key=pages):
        names = ", ".join(f"`{file.folder}/{file.file}`" for file in files)
        yield f"{names} ([Hugging Face]({huggingface}), [ModelScope]({modelscope}))"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")

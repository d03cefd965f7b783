"""The pages on troubleshooting: as generated from the code as it is, complete, and in both languages."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfybridge import errors
from scripts import troubleshooting
from scripts.remedies import REMEDIES
from scripts.sentences import pairs

ROOT = Path(__file__).parents[2]
RAISED = {
    name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.ComfyError)
}
LANGUAGES = list(troubleshooting.PAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_is_what_the_code_says(language: str) -> None:
    written = troubleshooting.PAGES[language].read_text(encoding="utf-8")

    assert written == troubleshooting.page(language), "run make troubleshooting"


def raised_texts(index: int) -> Iterator[tuple[str, str]]:
    """The longest fixed piece of every text that an error is made with, found in another way than the page's."""
    for path in sorted((ROOT / "comfybridge").rglob("*.py")):
        name = path.relative_to(ROOT / "comfybridge").as_posix()
        if name.split("/")[0].removesuffix(".py") in troubleshooting.OTHER_FRONTS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in RAISED:
                continue
            if len(node.args) > index and isinstance(node.args[index], (ast.Constant, ast.JoinedStr)):
                fixed = [
                    piece.value
                    for piece in ast.walk(node.args[index])
                    if isinstance(piece, ast.Constant) and isinstance(piece.value, str)
                ]
                yield f"{name}:{node.lineno}", max(fixed, key=len)


@pytest.mark.parametrize(("language", "index"), [("en", 0), ("zh", 1)], ids=LANGUAGES)
def test_every_sentence_that_is_raised_is_there(language: str, index: int) -> None:
    page = plain(troubleshooting.page(language))

    found = list(raised_texts(index))
    frames = ("Write it like", "格式示例", "headers: ", "Run it again", "请重新运行", "备用服务", "The fallback")
    missing = [
        place
        for place, text in found
        if plain(text) not in page and not any(frame in text for frame in frames) and len(plain(text)) > 4
    ]

    assert len(found) > 80
    assert missing == []


def plain(text: str) -> str:
    """Letters alone: the page parts sentences in two cells and begins the second with a capital."""
    return "".join(re.findall(r"\w", re.sub(r"\*…\*|\{\w*\}", "", text))).lower()


def test_every_remedy_belongs_to_a_sentence() -> None:
    whole = [troubleshooting.framed(pair) for pair in pairs(ROOT / "comfybridge", troubleshooting.OTHER_FRONTS)]
    begun = [pair.english for pair in whole if pair is not None]

    assert [begins for begins in REMEDIES if not any(english.startswith(begins) for english in begun)] == []


def test_both_pages_have_the_same_rows() -> None:
    rows = [len(re.findall(r"^\|", troubleshooting.page(language), re.MULTILINE)) for language in LANGUAGES]

    assert rows[0] == pytest.approx(rows[1], abs=3)  # two sentences of one language may be one of the other

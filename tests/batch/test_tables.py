"""Tables as spreadsheets and programs write them."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.batch.encoding import encoding_of
from comfybridge.batch.tables import open_table
from comfybridge.errors import InvalidInput
from tests.batch.making import write

CHINESE = "提示词,种子\n上海外滩夜景，写实摄影,42\n一只在雪地里奔跑的狐狸,7\n"


def read(path: Path) -> list[dict[str, object]]:
    return [dict(raw.values) for raw in open_table(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", CHINESE, encoding)

    rows = read(path)

    assert rows == [
        {"提示词": "上海外滩夜景，写实摄影", "种子": "42"},
        {"提示词": "一只在雪地里奔跑的狐狸", "种子": "7"},
    ]


def test_western_code_page_is_not_read_as_chinese(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt;name\nun château à la forêt;été\nein schöner Bär;süß\n", "cp1252")

    assert encoding_of(path) == "cp1252"
    assert read(path)[0] == {"prompt": "un château à la forêt", "name": "été"}


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x81\xfe")

    with pytest.raises(InvalidInput, match="no text in UTF-8"):
        open_table(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'prompt,seed\n"a fox, red\nand ""quick""",1\n'),
        ("a.csv", 'prompt;seed\r\n"a fox, red\nand ""quick""";1\r\n'),
        ("a.csv", 'sep=;\nprompt;seed\n"a fox, red\nand ""quick""";1\n'),
        ("a.tsv", 'prompt\tseed\n"a fox, red\nand ""quick"""\t1\n'),
    ],
    ids=["commas", "semicolons", "excel", "tabs"],
)
def test_quotes_and_separators(tmp_path: Path, name: str, text: str) -> None:
    assert read(write(tmp_path / name, text)) == [{"prompt": 'a fox, red\nand "quick"', "seed": "1"}]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'prompt,seed\n"two\nlines",1\n\n,\nlast,2\n')

    assert [(raw.number, raw.line) for raw in open_table(path)] == [(1, 2), (2, 6)]


def test_prompts_alone_need_no_quotes(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "prompt\na fox, in snow\n")) == [{"prompt": "a fox, in snow"}]
    assert read(write(tmp_path / "a.txt", "a fox, in snow\n\n a hare\n")) == [
        {"prompt": "a fox, in snow"},
        {"prompt": "a hare"},
    ]


def test_cell_without_a_column_spoils_its_row_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt,seed\na fox, red,1\na hare,2\n")

    first, second = open_table(path)

    assert first.mistake is not None
    assert "the cell '1' has no column (3 cells, 2 columns)" in first.mistake.en
    assert second.mistake is None


def test_quote_that_goes_on_spoils_its_row_only(tmp_path: Path) -> None:
    first, second = open_table(write(tmp_path / "a.csv", 'prompt,seed\n"a" fox,1\na hare,2\n'))

    assert (first.line, first.mistake is not None) == (2, True)
    assert (second.line, dict(second.values)) == (3, {"prompt": "a hare", "seed": "2"})


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"prompt": "a fox", "seed": 1}\n\n"a hare"\n{oops\n[1]\n')

    rows = list(open_table(path))

    assert open_table(path).columns == ("prompt", "seed")
    assert [dict(row.values) for row in rows] == [{"prompt": "a fox", "seed": 1}, {"prompt": "a hare"}, {}, {}]
    assert [(row.line, row.mistake is not None) for row in rows] == [(1, False), (3, False), (4, True), (5, True)]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "prompt,prompt\na,b\n", "column prompt twice"),
        ("a.jsonl", "oops\n", "holds no rows: line 1: not JSON"),
        ("a.xlsx", "PK", "must end in .csv"),
    ],
)
def test_file_that_is_no_table_is_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        open_table(write(tmp_path / name, text))


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        open_table(tmp_path / "a.csv")


def test_quote_that_is_never_closed_refuses_the_file(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", 'prompt,seed\na,1\n"open,2\n' + "x,3\n" * 50))

    with pytest.raises(InvalidInput, match="opened on line 3 is never closed"):
        list(table)


_CELL = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n"), max_size=20)


@given(st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_what_spreadsheets_write_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], delimiter: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("prompt", "name"), *cells])
    path = write(tmp_path_factory.mktemp("table") / "a.csv", text.getvalue(), "utf-8-sig")

    read_back = [(raw.values["prompt"], raw.values["name"]) for raw in open_table(path)]

    assert read_back == [pair for pair in cells if pair[0].strip() or pair[1].strip()]


@given(
    st.lists(st.dictionaries(st.sampled_from(["prompt", "seed", "x"]), st.integers() | _CELL, min_size=1), min_size=1)
)
def test_json_lines_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    assert read(path) == rows

"""Columns and cells as parameters of a generation."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.api.wishes import NAMES
from comfybridge.batch.columns import PARAMETERS, meaning, meanings
from comfybridge.batch.rows import Row, read
from comfybridge.batch.tables import Raw
from comfybridge.errors import InvalidInput


def row_of(values: Mapping[str, Any], given_: Mapping[str, Any] | None = None, named: tuple[str, ...] = ()) -> Row:
    return next(read([Raw(1, 2, values)], meanings(list(values), named), given_ or {}))


def test_every_parameter_of_generate_is_a_column() -> None:
    # What a row has of its own are its key, and values that have columns themselves.
    assert set(PARAMETERS) | {"key", "values", "workflow", "files"} >= set(NAMES)
    assert set(PARAMETERS) <= set(NAMES)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("Prompt", "prompt"),
        ("提示词", "prompt"),
        ("负面提示词", "negative_prompt"),
        ("Negative Prompt", "negative_prompt"),
        ("种子", "seed"),
        ("宽", "width"),
        ("高", "height"),
        ("模板", "template"),
        ("数量", "count"),
        ("名称", "name"),
        ("尺寸", "size"),
        ("图片", "images"),
        ("colour", None),
    ],
)
def test_headings(column: str, meant: str | None) -> None:
    assert meaning(column) == meant


def test_cells_become_parameters() -> None:
    row = row_of({
        "提示词": "狐狸",
        "seed": "42",
        "宽": "1024",
        "height": "768.0",
        "cfg": "",
        "count": "2",
        "loras": "detail:0.8",
        "图片": "a.png; b,c.png",
        "fps": "24",
    }, named=("fps",))  # fmt: skip

    assert row.mistake is None
    assert row.parameters == {
        "prompt": "狐狸",
        "seed": 42,
        "width": 1024,
        "height": 768,
        "count": 2,
        "loras": "detail:0.8",
        "images": ("a.png", "b,c.png"),
        "values": {"fps": "24"},
    }


def test_rows_own_values_stand_before_those_of_all() -> None:
    row = row_of({"prompt": "a fox", "seed": "", "template": "sdxl"}, {"template": "sd15", "seed": "5"})

    assert (row.parameters["template"], row.parameters["seed"]) == ("sdxl", 5)


@pytest.mark.parametrize(
    ("values", "column", "told"),
    [
        ({"prompt": " "}, "prompt", "prompt is empty"),
        ({"提示词": ""}, "提示词", "prompt is empty"),
        ({"prompt": "a", "种子": "x"}, "种子", "seed must be a number"),
        ({"prompt": "a", "width": "9"}, "width", "from 64 to 4096, not '9'"),
        ({"prompt": "a", "count": "1.5"}, "count", "whole number"),
        ({"prompt": "a", "size": "huge"}, "size", "size must be one of"),
        ({"prompt": "a", "format": "gif"}, "format", "format must be one of"),
        ({"prompt": "a", "steps": float("nan")}, "steps", "not 'nan'"),
        ({"prompt": "a", "seed": [1]}, "seed", "not '\\[1\\]'"),
    ],
)
def test_bad_cell_is_told_by_its_column(values: Mapping[str, Any], column: str, told: str) -> None:
    row = row_of(values)

    assert row.mistake is not None
    assert row.mistake.column == column
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(row.mistake.en)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (["promt"], "Nothing takes the column promt. Did you mean prompt"),
        (["seed"], "There is no column prompt. The columns are: seed"),
        (["prompt", "提示词"], "prompt and 提示词 both mean prompt"),
        (["prompt", "ftps"], "Nothing takes the column ftps. Did you mean fps"),
    ],
)
def test_columns_that_refuse_the_file(columns: list[str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        meanings(columns, ("fps",))


def test_any_column_may_be_one_of_a_workflow_on_the_server() -> None:
    assert meanings(["prompt", "Brand color"], None) == {"prompt": "prompt", "Brand color": "Brand color"}


def test_same_wishes_have_the_same_content_wherever_they_stand() -> None:
    fox, hare = {"prompt": "a fox", "seed": "1"}, {"prompt": "a hare", "seed": "1"}
    columns = meanings(["prompt", "seed"], ())

    first = [row.content for row in read([Raw(1, 2, fox), Raw(2, 3, fox)], columns, {})]
    second = [row.content for row in read([Raw(1, 2, hare), Raw(2, 3, fox), Raw(3, 4, fox)], columns, {})]
    other = [row.content for row in read([Raw(1, 2, fox)], columns, {"steps": 5})]

    assert second[1:] == first
    assert len({*first, *second, *other}) == 4


_VALUE = st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*PARAMETERS, "name", "fps"]), _VALUE))
def test_no_cell_breaks_the_reader(values: dict[str, Any]) -> None:
    values = {"prompt": "a fox", **values}

    row = row_of(values, named=("fps",))

    assert (row.mistake is None) == bool(row.parameters)
    assert row.content

"""Sets: products, topics and briefs as rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfybridge.batch import plan
from comfybridge.batch.plan import Plan
from comfybridge.batch.rows import Row
from comfybridge.batch.sets import only, shot_set
from comfybridge.batch.things import find_set, things
from comfybridge.errors import InvalidInput
from tests.batch.making import write

PRODUCTS = [
    {"name": "陶瓷马克杯", "description": "white mug", "sku": 17},
    {"名称": "Linen shirt", "材质": "linen", "scene": "by the sea"},
    {"description": "nobody knows"},
]


def planned(name: str, *given: str) -> Plan:
    shown = find_set(name)
    return plan.of_set(shown, things(given, shown), {})


def sizes(rows: list[Row]) -> dict[str, Any]:
    return {row.name: row.parameters["size"] for row in rows}


def test_products(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.json", json.dumps({"shop": "ours", "products": PRODUCTS}, ensure_ascii=False))

    rows = list(planned("product", str(path)).rows())

    assert sizes(rows[:3]) == {
        "陶瓷马克杯_main": "800x800!",
        "陶瓷马克杯_detail": "1200x800!",
        "陶瓷马克杯_lifestyle": "1024x768!",
    }
    assert rows[0].parameters["prompt"].startswith("陶瓷马克杯, white mug, the whole product, centered,")
    assert "Linen shirt, linen, the whole product" in rows[3].parameters["prompt"]
    assert "in use by the sea" in rows[5].parameters["prompt"]
    assert "in use in a bright modern home" in rows[2].parameters["prompt"]
    assert ", ," not in "".join(str(row.parameters.get("prompt")) for row in rows)
    assert rows[6].mistake is not None
    assert (len(rows), rows[6].mistake.column) == (7, "name")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "商品名称;描述\nmug;white\n"),
        ("a.jsonl", '{"product": "mug", "description": "white"}\n'),
        ("a.yaml", "- {name: mug, description: white}\n"),
        ("a.json", '{"name": "mug", "description": "white"}'),
        ("a.txt", "mug\n"),
    ],
)
def test_products_in_files_of_any_form(tmp_path: Path, name: str, text: str) -> None:
    rows = list(planned("product", str(write(tmp_path / name, text))).rows())

    assert [row.name for row in rows] == ["mug_main", "mug_detail", "mug_lifestyle"]


def test_topics_for_platforms() -> None:
    rows = list(planned("social", "autumn coffee", "上海夜景").rows())

    assert len(rows) == 2 * 8
    assert sizes(rows)["autumn-coffee_xiaohongshu"] == "xiaohongshu"
    words = {row.parameters["prompt"].removeprefix("autumn coffee, ") for row in rows[:8]}
    assert len(words) == 8


def test_brief_makes_background_icons_and_decoration() -> None:
    rows = list(planned("design", "a tea shop app, calm").rows())

    assert list(sizes(rows).values()) == ["1920x1080!", *["512x512!"] * 5, "800x600!"]
    assert len({row.content for row in rows}) == 7
    assert len({row.parameters["prompt"] for row in rows[1:6]}) == 1


def test_brief_with_a_seed_and_icons_of_its_own(tmp_path: Path) -> None:
    brief = {"subject": "tea shop", "style": "ink", "icons": ["cup", "leaf"], "seed": 10}
    rows = list(planned("design", str(write(tmp_path / "brief.yaml", yaml.safe_dump(brief)))).rows())

    assert [row.name for row in rows] == [
        "tea-shop_background",
        "tea-shop_icon_cup",
        "tea-shop_icon_leaf",
        "tea-shop_decoration",
    ]
    assert [row.parameters["seed"] for row in rows] == [10, 10, 11, 10]
    assert "one app icon, leaf, for tea shop, ink," in rows[2].parameters["prompt"]


def test_set_of_ones_own(tmp_path: Path) -> None:
    own = {
        "fields": [{"name": "dish", "needed": True}],
        "prompt": "{dish}, {light}",
        "shots": [{"name": "top", "size": "1:1", "seeds": 2, "template": "sd15", "words": {"light": "morning light"}}],
    }
    rows = list(planned(str(write(tmp_path / "food.yaml", yaml.safe_dump(own))), "ramen").rows())

    assert [(row.name, dict(row.parameters)) for row in rows] == [
        (f"ramen_top_{run}", {"prompt": "ramen, morning light", "size": "1:1", "template": "sd15"}) for run in (1, 2)
    ]


GOOD: dict[str, Any] = {"fields": [{"name": "a"}], "shots": [{"name": "s", "size": "1:1", "prompt": "{a}"}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shots": []}, "lists with something in them"),
        ({"colour": 1}, "colour: no such key"),
        ({"shots": [{"name": "s", "size": "1:1", "prompt": "{b}"}]}, "nothing fills {b} in the shot s"),
        ({"shots": [{"name": "s", "size": "1:1"}]}, "the shot s has no prompt"),
        ({"shots": [{"name": "s", "prompt": "{a}"}]}, "missing 1 required keyword-only argument: 'size'"),
        ({"shots": [{"name": "s", "size": "1:1", "prompt": "{a"}]}, "the prompt of s"),
        ({"shots": [{"name": "s", "size": "1:1", "prompt": "{a}", "seeds": 0}]}, "must be 1 to 100"),
        ({"shots": ["s"]}, "each shot must be a mapping"),
    ],
)
def test_set_that_cannot_be_used_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        shot_set({**GOOD, **change}, "mine")

    assert told in str(refused.value)


def test_shots_are_chosen_by_name() -> None:
    assert [shot.name for shot in only(find_set("social"), ["weibo"]).shots] == ["weibo"]
    with pytest.raises(InvalidInput, match="there is no shot tiktok, only wechat_cover"):
        only(find_set("social"), ["tiktok"])


@pytest.mark.parametrize(
    ("given", "told"),
    [(["missing.csv"], "There is no file missing.csv"), ([" "], "nothing to make a set from")],
)
def test_nothing_to_make_a_set_from(given: list[str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        things(given, find_set("social"))


def test_table_without_the_field_that_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "price,description\n1,x\n")

    with pytest.raises(InvalidInput, match=r"a\.csv has no column name"):
        things([str(path)], find_set("product"))


def test_set_in_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    own = text.split("```yaml\n")[1].split("```")[0]

    rows = list(planned(str(write(tmp_path / "food.yaml", own)), "ramen").rows())

    assert [row.name for row in rows] == ["ramen_top_1", "ramen_top_2", "ramen_top_3", "ramen_menu"]
    assert rows[0].parameters["prompt"] == "ramen on a white plate, from above, morning light"
    assert rows[3].parameters == {
        "prompt": "ramen, close-up",
        "negative_prompt": "people",
        "size": "1200x400!",
        "template": "sdxl",
        "steps": 30,
    }

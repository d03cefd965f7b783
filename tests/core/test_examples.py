"""The example apps as files: generated, consistent with the tools, tidy, and without anybody's secrets."""

import csv
import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import yaml

from scripts import examples
from scripts.apps.checker import problems

FILES = sorted(path.name for path in examples.FOLDER.glob("*.yml"))


def load(name: str) -> Any:
    return yaml.safe_load((examples.FOLDER / name).read_text(encoding="utf-8"))


def test_files_are_those_that_are_generated() -> None:
    made = examples.documents()

    assert sorted(made) == FILES
    assert {name: (examples.FOLDER / name).read_text(encoding="utf-8") for name in FILES} == made, "make examples"


@pytest.mark.parametrize("name", FILES)
def test_file_has_what_dify_imports(name: str) -> None:
    document = load(name)

    assert problems(document) == []
    assert document["version"] == "0.4.0"
    assert document["app"]["mode"] in ("workflow", "advanced-chat", "agent-chat")
    assert document["dependencies"] == []
    assert re.search("[\u4e00-\u9fff]", document["app"]["name"])
    assert re.match("[A-Z]", document["app"]["name"])


@pytest.mark.parametrize("name", FILES)
def test_file_has_no_address_and_no_secret(name: str) -> None:
    text = (examples.FOLDER / name).read_text(encoding="utf-8")

    assert not re.search(r"https?://|sk-|Bearer|api_key|credential_id|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", text)


@pytest.mark.parametrize("name", list(examples.APPS))
def test_nodes_do_not_lie_on_each_other(name: str) -> None:
    nodes, edges = examples.drawing(name)
    containers = {node.id for node in nodes if node.type == "iteration"}
    boxes = {node.id: (node.x, node.y, node.x + node.width, node.y + node.height) for node in nodes}

    for one, other in combinations(boxes, 2):
        (left, top, right, bottom), (left2, top2, right2, bottom2) = boxes[one], boxes[other]
        apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
        assert apart or {one, other} & containers, (one, other)
    assert all(boxes[edge.source][0] < boxes[edge.target][0] for edge in edges), "every edge goes to the right"


def edited(name: str, change: Callable[[dict[str, Any]], None]) -> list[str]:
    document = load(name)
    change(document)
    return problems(document)


def node(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in document["workflow"]["graph"]["nodes"] if each["id"] == name)
    return found


def cut(document: dict[str, Any], target: str) -> None:
    graph = document["workflow"]["graph"]
    graph["edges"] = [edge for edge in graph["edges"] if edge["target"] != target]


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "draw")["data"]["tool_parameters"]["prompt"].update(value="{{#writer.txt#}}"),
            "draw: writer has no txt here",
        ),
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "writer")["data"]["prompt_template"][1].update(text="{{#draw.text#}}"),
            "writer: draw has no text here",
        ),
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "draw")["data"]["tool_configurations"].update(
                format={"type": "constant", "value": "tiff"}
            ),
            "draw: format has no option tiff",
        ),
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "draw")["data"]["tool_parameters"].pop("prompt"),
            "draw: prompt is missing",
        ),
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "draw")["data"]["tool_configurations"].update(
                styel={"type": "constant", "value": "x"}
            ),
            "draw: text2image has no styel",
        ),
        (
            "seed-story-workflow.yml",
            lambda app: node(app, "end")["data"]["outputs"][0].update(value_selector=["paint", "files"]),
            "end: paint.files: there is no paint",
        ),
        ("seed-story-workflow.yml", lambda app: cut(app, "notes"), "notes is not reached from the start"),
        ("seed-story-workflow.yml", lambda app: cut(app, "end"), "draw is an end at which nothing comes out"),
        ("friendly-failure.yml", lambda app: cut(app, "lost"), "which: nothing follows the branch lost"),
        (
            "friendly-failure.yml",
            lambda app: node(app, "picture")["data"].update(answer="{{#draw.error_message#}}"),
            "picture: draw has no error_message here",
        ),
        (
            "draft-then-fine.yml",
            lambda app: app["workflow"].update(conversation_variables=[]),
            "fine: conversation.prompt is not declared",
        ),
        (
            "social-platforms.yml",
            lambda app: node(app, "end")["data"]["outputs"][0].update(value_selector=["draw", "files"]),
            "end: draw has no files here",
        ),
        (
            "social-platforms.yml",
            lambda app: node(app, "writer")["data"]["context"].update(enabled=True),
            "writer: its context and its prompt's {{#context#}} belong together",
        ),
        (
            "seed-story-agent.yml",
            lambda app: app["model_config"]["agent_mode"]["tools"][0]["tool_parameters"].update(progress="often"),
            "text2image: progress cannot be 'often'",
        ),
        (
            "seed-story-agent.yml",
            lambda app: app["model_config"]["agent_mode"]["tools"][0]["tool_parameters"].update(
                enhance_with={"model": ""}
            ),
            "text2image: enhance_with cannot be {'model': ''}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_mistake_is_found(name: str, change: Callable[[dict[str, Any]], None], expected: str) -> None:
    assert expected in edited(name, change)


@pytest.mark.parametrize("readme", ["README.md", "README_zh_Hans.md"])
def test_readmes_name_every_file(readme: str) -> None:
    text = (examples.FOLDER / readme).read_text(encoding="utf-8")

    links = set(re.findall(r"\]\(([^):]+)\)", text))
    assert {*FILES, "call_app.py", "knowledge/style-notes.md", "knowledge/products.csv"} <= links
    assert all((examples.FOLDER / link.partition("#")[0]).exists() for link in links)


def test_products_have_all_their_columns() -> None:
    with (examples.FOLDER / "knowledge" / "products.csv").open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)

    assert len(rows) == 10
    assert all(len(row) == len(heading) and all(row) for row in rows)

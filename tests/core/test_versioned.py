"""The version that a server writes into a saved workflow: where it stands, and what becomes of it in a job."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from comfybridge import convert, library, versioned
from comfybridge.library import Named
from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon
from comfybridge.template import Template
from comfybridge.versioned import Mark
from tests.core.making import Connect, make
from tests.core.pairs import pair

ROOT = Path(__file__).parents[2]
EDITORS = pair("pinned", "default").workflow
PROMPT = library.load("sd15").prompt
SECOND = Mark(name="poster", version="2", bindings={})


@pytest.mark.parametrize("saved", [EDITORS, PROMPT], ids=["editor", "api"])
def test_mark_can_be_written_read_and_taken_away(saved: dict[str, Any]) -> None:
    bound = Mark(name="海报", version="12", bindings={"positive": "6.text", "images": ["1.image", "2.image"]})

    marked = json.loads(json.dumps(versioned.marked(versioned.marked(saved, SECOND), bound)))

    assert versioned.mark_of(marked) == bound
    assert versioned.mark_of(saved) is None
    assert versioned.unmarked(marked) == saved
    assert list(marked) == list(saved)


def test_mark_changes_nothing_of_what_is_converted() -> None:
    marked = versioned.marked(PROMPT, SECOND)

    converted = convert.convert(marked, {}).prompt

    assert {name: (node["class_type"], node["inputs"]) for name, node in converted.items()} == {
        name: (node["class_type"], node["inputs"]) for name, node in PROMPT.items()
    }


@pytest.mark.parametrize(
    "told", [None, [], {"name": "x"}, {"name": "../x", "version": "1"}, {"name": "x", "version": "01"},
             {"name": "x", "version": 1}, {"name": "x", "version": "1", "bindings": [1]}]
)  # fmt: skip
def test_what_makes_no_sense_is_no_mark(told: Any) -> None:
    assert versioned.mark_of({"nodes": [], "extra": {"comfybridge": told}}) is None


@pytest.mark.parametrize("saved", [EDITORS, PROMPT], ids=["editor", "api"])
def test_job_of_a_marked_workflow_says_which_version_it_is(saved: dict[str, Any], connect: Connect) -> None:
    workflows = {"poster": versioned.marked(saved, SECOND), "stolen": versioned.marked(saved, SECOND)}
    with Simulator(workflows=workflows) as comfyui:
        client = connect(comfyui.url)
        for name in ("poster", "stolen"):
            make(client, name=Named(name), steps=1)

        first, second = (request.body for request in comfyui.received("POST", "/prompt"))
    assert first["extra_data"]["comfybridge"] == {"template": "poster@2"}
    assert second["extra_data"]["comfybridge"] == {"template": "stolen"}
    assert "poster" not in json.dumps(first["prompt"])


def test_bindings_in_the_mark_count_where_the_graph_has_such_inputs(connect: Connect) -> None:
    bindings: dict[str, str | list[str]] = {"positive": "7.text", "negative": "99.text"}
    mark = Mark(name="poster", version="2", bindings=bindings)
    with Simulator(workflows={"poster": versioned.marked(PROMPT, mark)}) as comfyui:
        make(connect(comfyui.url), name=Named("poster"), positive="a fox", steps=1)

        (request,) = comfyui.received("POST", "/prompt")
    assert request.body["prompt"]["7"]["inputs"]["text"] == "a fox"


def test_dify_users_are_told_apart_and_not_named() -> None:
    with (
        Simulator(workflows={"poster": versioned.marked(EDITORS, SECOND)}) as comfyui,
        PluginDaemon(ROOT) as daemon,
    ):
        for user in ("ann@example.com", "ben"):
            daemon.call_tool(
                "comfyui", "run_workflow", {"workflow": "poster"}, credentials={"base_url": comfyui.url}, user_id=user
            )

        told = [request.body["extra_data"]["comfybridge"] for request in comfyui.received("POST", "/prompt")]
        read = [request.query for request in comfyui.received("GET", "/userdata/workflows/poster.json")]
    digest = hashlib.sha256(b"ann@example.com").hexdigest()[:16]
    assert told[0] == {"template": "poster@2", "user": digest}
    assert told[0]["user"] != told[1]["user"]
    assert [query[versioned.USER] for query in read] == [each["user"] for each in told]


@pytest.mark.parametrize(
    ("name", "is_users", "full"),
    [
        ("sd15", False, "sd15@1"),
        ("poster@2", False, "poster@2"),
        ("poster@2", True, "poster@2"),
        ("my@x", False, "my@1"),
    ],
)
def test_full_names(name: str, is_users: bool, full: str) -> None:  # noqa: FBT001
    assert Template(name=name, prompt={}, is_users=is_users).full_name == full

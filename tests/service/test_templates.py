"""A folder of templates as files: what is read, what is refused, and when it is looked at."""

import json
from pathlib import Path
from typing import Any

import pytest

from comfybridge import library, versioned
from comfybridge.errors import InvalidInput
from comfybridge.service import templates
from comfybridge.service.gateway.offering import Offering
from comfybridge.service.templates import BadTemplates
from tests.contract import graphs
from tests.core import pairs

EDITORS = pairs.pair("pinned", "default")
GRAPH = graphs.solid()


def write(folder: Path, **files: Any) -> None:
    for name, content in files.items():
        path = folder / name.replace("_AT_", "@").replace("_DOT_", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_both_forms_and_sidecars_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        poster_AT_1_DOT_json=EDITORS.workflow,
        poster_AT_1_DOT_yaml="bindings: {positive: 6.text}",
        poster_AT_2_DOT_json=GRAPH,
        banner_DOT_json=GRAPH,
        sdxl_AT_2_DOT_json=GRAPH,
        rollout_DOT_yaml="poster: {stable: 1}\nsdxl: {stable: 1, share: {2: 5}}",
    )

    found = templates.read(templates.load(tmp_path))

    mark = versioned.mark_of(json.loads(found.versions["poster"]["1"].content))
    assert mark is not None
    assert (mark.full_name, mark.bindings) == ("poster@1", {"positive": "6.text"})
    assert all(found.knows(name) for name in ("poster@2", "banner@1", "sdxl@1", "sdxl@2"))
    assert not any(found.knows(name) for name in ("banner", "poster@3", "", "@1"))
    assert found.stable("sdxl") == "1"
    assert set(found.versions) == {each.base_name for each in library.templates()} | {"poster", "banner"}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"my poster_DOT_json": GRAPH}, "my poster.json: its name must be letters"),
        ({"poster_AT_x_DOT_json": GRAPH}, "poster@x.json: its name must be letters"),
        ({"poster_AT_01_DOT_json": GRAPH}, "poster@01.json: its name must be"),
        ({"a_DOT_json": "{"}, "a.json: it is no JSON"),
        ({"a_DOT_json": "[" * 100_000}, "a.json: it is no JSON"),
        ({"a_DOT_json": {}}, "a.json: "),
        ({"a_DOT_json": {"prompt": GRAPH}}, "a.json: it must be a workflow as the editor saves or exports it"),
        ({"a_DOT_json": {"some": "thing"}}, "a.json: This JSON is no ComfyUI workflow"),
        ({"a_DOT_json": GRAPH, "a_AT_1_DOT_json": GRAPH}, "there is a a@1 already"),
        ({"sdxl_DOT_json": GRAPH}, "sdxl.json: there is a sdxl@1 already"),
        ({"A_DOT_json": GRAPH, "a_DOT_json": GRAPH}, "a.json: there is A, too"),
        ({"a_AT_1_DOT_json": GRAPH, "a_AT_2_DOT_json": GRAPH}, "a has the versions 1, 2: say which one is stable"),
        ({"a_DOT_json": GRAPH, "a_DOT_yaml": "bindings: {positive: 9.text}"}, "a.yaml: bindings: positive is 9.text"),
        ({"a_DOT_json": EDITORS.workflow, "a_DOT_yaml": "bindings: {smell: 9.text}"}, "a.yaml: smell: no such role"),
        ({"rollout_DOT_yaml": "nothing: {stable: 1}"}, "nothing: there is no template of this name"),
    ],
)
def test_mistake_is_told_and_nothing_is_taken(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    write(tmp_path, **files)

    with pytest.raises(BadTemplates) as caught:
        templates.read(templates.load(tmp_path))

    assert any(sentence in english for english, _ in caught.value.problems), caught.value.problems
    assert all(chinese for _, chinese in caught.value.problems)


def test_folder_is_taken_when_it_has_come_to_rest(tmp_path: Path) -> None:
    offering = Offering(tmp_path)
    offering.first_look()
    write(tmp_path, poster_DOT_json=GRAPH)
    assert not offering.look()
    write(tmp_path, poster_AT_2_DOT_json=GRAPH)
    assert not offering.look()
    write(tmp_path, rollout_DOT_yaml="poster: {stable: 2}")
    assert not offering.look()

    assert offering.look()

    assert offering.held.stable("poster") == "2"
    assert not offering.look()


def test_last_good_state_stays_and_git_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path, poster_DOT_json=GRAPH)
    offering = Offering(tmp_path)
    offering.first_look()
    held = offering.held

    write(tmp_path, poster_DOT_json="{")
    assert [offering.look() for _ in range(3)] == [False] * 3
    assert offering.held is held
    assert offering.problems[0][0].startswith("poster.json: it is no JSON")

    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()
    write(tmp_path, poster_DOT_json=GRAPH)
    assert [offering.look() for _ in range(3)] == [False] * 3
    (tmp_path / ".git" / "index.lock").unlink()
    assert [offering.look() for _ in range(2)] == [False, True]
    assert offering.problems == []


def test_folder_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    write(folder, poster_DOT_json=GRAPH)
    offering = Offering(folder)
    offering.first_look()

    folder.rename(tmp_path / "elsewhere")

    assert not offering.look()
    assert "poster" in offering.held.versions
    assert offering.problems[0][0].startswith("There is no folder")


def test_what_servers_lack_is_told() -> None:
    definitions = pairs.definitions()
    version = templates.Version(
        name="a", number="1", content=b"", saved=EDITORS.workflow, bindings={"positive": "6.words"}
    )
    known = {name: info for name, info in definitions.items() if name != "KSampler"}

    lacks = templates.lacks(templates.converted(version, definitions), definitions)

    assert lacks[-1][0] == "bindings: positive is 6.words, but the graph has no such input."
    with pytest.raises(InvalidInput, match="KSampler"):
        templates.converted(version, known)

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comfybridge import cli, preflight
from comfybridge.simulator import Simulator
from tests.core import pairs

Saving = Callable[[str, object], str]

WORKFLOW = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "EmptyLatentImage", "widgets_values": [64, 32, 1]},
        {"id": 2, "type": "VAEDecode", "inputs": [{"name": "samples", "type": "LATENT", "link": 1}]},
        {"id": 3, "type": "SomethingElse", "widgets_values": []},
    ],
    "links": [[1, 1, 0, 2, 0, "LATENT"]],
}
SENT = {"width": 64, "height": 32, "batch_size": 1}
OBJECT_INFO = str(pairs.FOLDER / "object_info.json")


@pytest.fixture
def save(tmp_path: Path) -> Saving:
    def write(name: str, content: object) -> str:
        path = tmp_path / name
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def test_several_files_become_one_json_per_line(save: Saving, capsys: pytest.CaptureFixture[str]) -> None:
    files = [save("a.json", WORKFLOW), save("b.json", {"1": {"class_type": "SaveImage", "inputs": {}}})]

    status = cli.main(["workflow", "convert", *files, "--object-info", OBJECT_INFO])

    printed = capsys.readouterr()
    first, second = (json.loads(line) for line in printed.out.splitlines())
    assert (status, first["1"]["inputs"], list(second)) == (0, SENT, ["1"])
    assert "Node 3 (SomethingElse)" in printed.err


def test_a_file_that_cannot_be_converted_stops_no_other(save: Saving, capsys: pytest.CaptureFixture[str]) -> None:
    files = [save("a.json", []), "nowhere.json", save("b.json", WORKFLOW)]

    status = cli.main(["workflow", "convert", *files, "--object-info", OBJECT_INFO])

    printed = capsys.readouterr()
    assert status == 2
    assert json.loads(printed.out)["1"]["inputs"] == SENT
    assert "a.json: This JSON is no ComfyUI workflow" in printed.err
    assert "nowhere.json: No such file" in printed.err


def test_a_folder_gets_a_file_each(save: Saving, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made" / "here"

    status = cli.main(
        ["workflow", "convert", save("a.json", WORKFLOW), "--object-info", OBJECT_INFO, "-o", str(folder)]
    )

    assert (status, capsys.readouterr().out) == (0, "")
    assert json.loads((folder / "a.json").read_bytes())["1"]["inputs"] == SENT


def test_definitions_come_from_the_server(save: Saving, comfyui: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["workflow", "convert", save("a.json", WORKFLOW), "--server", comfyui.url])

    assert (status, json.loads(capsys.readouterr().out)["1"]["inputs"]) == (0, SENT)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_server_that_is_not_there_is_one_sentence(
    address: str, save: Saving, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(["workflow", "convert", save("a.json", WORKFLOW), "--server", address])

    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert "127.0.0.1:1" in printed.err


def test_a_value_that_is_not_listed_makes_the_definition_outdated() -> None:
    definitions = {"Loader": {"input": {"required": {"name": [["a"]], "text": ["STRING"]}}}}
    listed = {"class_type": "Loader", "inputs": {"name": "a", "text": "b"}}
    prompt = {"1": listed, "2": {"class_type": "Absent", "inputs": {}}}

    assert preflight.outdated(prompt, definitions) == {"Absent"}
    assert preflight.outdated({"1": {**listed, "inputs": {"name": "b"}}}, definitions) == {"Loader"}

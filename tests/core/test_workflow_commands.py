"""``comfybridge workflow inspect`` and ``check``, as they are typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from comfybridge import library, workflow
from comfybridge.cli import main
from comfybridge.simulator import Simulator
from comfybridge.workflow import Definitions, InputRef


@pytest.fixture
def object_info(tmp_path: Path, definitions: Definitions) -> str:
    path = tmp_path / "object_info.json"
    path.write_text(json.dumps(definitions), encoding="utf-8")
    return str(path)


def written(path: Path, held: Any) -> str:
    path.write_text(held if isinstance(held, str) else json.dumps(held), encoding="utf-8")
    return str(path)


def sd15(**changed: Any) -> dict[str, dict[str, Any]]:
    refs = {InputRef(*name.removeprefix("n").split("__", 1)): value for name, value in changed.items()}
    return workflow.fill(library.load("sd15").prompt, refs)


class TestInspect:
    def test_table_names_roles_values_nodes_and_inputs(
        self, tmp_path: Path, object_info: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", sd15(n6__text="一只狐狸"))

        status = main(["workflow", "inspect", file, "--object-info", object_info])

        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert status == 0
        assert ["positive", '"一只狐狸"', "6", "CLIP", "Text", "Encode", "(Prompt)", "text"] in lines
        assert ["outputs:", "9", "Save", "Image", "(image)"] in lines

    def test_json_holds_everything(self, tmp_path: Path, object_info: str, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "a.json", {"prompt": sd15()})

        status = main(["workflow", "inspect", file, "--object-info", object_info, "--json"])

        found = json.loads(capsys.readouterr().out)[file]
        assert status == 0
        assert found["roles"]["width"] == [
            {"node_id": "5", "title": "Empty Latent Image", "input": "width", "value": 512}
        ]
        assert found["outputs"] == [{"node_id": "9", "title": "Save Image", "kind": "image"}]
        assert (found["missing"], found["notes"]) == ([], [])

    def test_half_a_character_is_shown_as_its_number(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "a.json", sd15(n6__text="half \ud83e"))

        assert main(["workflow", "inspect", file]) == 0
        assert "half \\ud83e" in capsys.readouterr().out

    def test_definitions_are_not_needed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["workflow", "inspect", written(tmp_path / "a.json", sd15())]) == 0
        assert "negative" in capsys.readouterr().out

    def test_sidecar_binds_what_was_not_found(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        odd = {
            "1": {"class_type": "Odd", "inputs": {"said": "x"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }
        file = written(tmp_path / "odd.json", odd)

        main(["workflow", "inspect", file])
        before = capsys.readouterr().out
        written(tmp_path / "odd.yaml", "bindings:\n  positive: 1.said\n")
        main(["workflow", "inspect", file, "--json"])

        assert "not found: positive, negative, seed" in before
        found = json.loads(capsys.readouterr().out)[file]
        assert found["roles"] == {"positive": [{"node_id": "1", "title": "Odd", "input": "said", "value": "x"}]}

    def test_saved_workflow_needs_a_server_to_be_converted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", {"nodes": [{"id": 1, "type": "KSampler"}], "links": []})

        assert main(["workflow", "inspect", file]) == 2
        assert "name the server by --server URL or --object-info FILE" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "held",
        ["", "{", "[]", "{}", "7", '"text"', '{"nodes": [], "links": []}', '{"1": {}}',
         '{"1": null}', "[" * 100_000, "\ufeff{}"],
        ids=["empty", "cut", "list", "no nodes", "number", "text", "saved", "class", "null", "deep", "bom"],
    )  # fmt: skip
    def test_file_that_holds_no_workflow_is_refused_in_a_sentence(
        self, held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", held)

        status = main(["workflow", "inspect", file])

        printed = capsys.readouterr()
        assert status == 2
        assert printed.err.startswith(f"{file}: ")
        assert printed.out == ""

    def test_bad_file_does_not_keep_the_others_from_being_shown(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = written(tmp_path / "a.json", sd15())

        status = main(["workflow", "inspect", str(tmp_path / "gone.json"), good])

        assert status == 2
        assert good in capsys.readouterr().out

    def test_wrong_binding_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "a.json", sd15())
        written(tmp_path / "a.yaml", "bindings: {positive: 99.text}")

        assert main(["workflow", "inspect", file]) == 2
        assert "99.text" in capsys.readouterr().err


class TestCheck:
    def test_good_workflow_has_no_problem(
        self, tmp_path: Path, object_info: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", sd15())

        assert main(["workflow", "check", file, "--object-info", object_info]) == 0
        assert capsys.readouterr().out == "0 problems.\n"

    def test_every_problem_is_told_in_both_languages(
        self, tmp_path: Path, object_info: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", sd15(n3__steps=0, n4__ckpt_name="gone.safetensors", n7__clip=["77", 1]))

        status = main(["workflow", "check", file, "--object-info", object_info])

        printed = capsys.readouterr().out
        assert status == 1
        assert "Node 3 (KSampler): steps is 0, but must be from 1 to 10000." in printed
        assert "节点 7（CLIP Text Encode (Prompt)）：“clip”连接到不存在的节点 77。" in printed
        assert printed.endswith("3 problems.\n")

    def test_file_under_another_folder_is_no_problem_but_told(
        self, tmp_path: Path, object_info: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wanted = library.load("sd15").prompt["4"]["inputs"]["ckpt_name"]
        file = written(tmp_path / "a.json", sd15(n4__ckpt_name=f"old\\{wanted}"))

        status = main(["workflow", "check", file, "--object-info", object_info, "--json"])

        told = json.loads(capsys.readouterr().out)
        assert (status, told["problems"]) == (0, [])
        assert f"is '{wanted}' on this server" in told["repaired"][0]["en"]

    def test_server_is_asked(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "a.json", sd15(n3__sampler_name="eulr"))

        with Simulator(port=0) as simulator:
            status = main(["workflow", "check", file, "--server", simulator.url])

        assert status == 1
        assert "'euler'" in capsys.readouterr().out

    @pytest.mark.parametrize("held", ["", "[]", "{"])
    def test_definitions_that_are_none_are_told(
        self, held: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, info = written(tmp_path / "a.json", sd15()), written(tmp_path / "info.json", held)

        assert main(["workflow", "check", file, "--object-info", info]) == 2
        assert f"{info} holds no node definitions." in capsys.readouterr().err

    def test_bare_address_of_a_server_is_refused_in_a_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = written(tmp_path / "a.json", sd15())

        assert main(["workflow", "check", file, "--server", "ftp://gpu"]) == 2
        assert "http" in capsys.readouterr().err

    def test_server_that_is_not_there_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "a.json", sd15())

        assert main(["workflow", "check", file, "--server", "http://127.0.0.1:9"]) == 2
        assert "127.0.0.1:9" in capsys.readouterr().err

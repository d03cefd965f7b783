"""``connect`` and what there is: addresses, ways in, templates of one's own, what the servers have."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import comfybridge
from comfybridge import library
from comfybridge.api.result import File
from comfybridge.simulator import Simulator

SMALL: Any = {"template": "sd15", "width": 64, "height": 64, "steps": 1}
PNG = b"\x89PNG\r\n\x1a\n"


class TestConnect:
    def test_no_address_says_where_to_put_one(self) -> None:
        with pytest.raises(comfybridge.InvalidInput, match="COMFYUI_URL") as caught:
            comfybridge.connect()

        assert "COMFYUI_URL" in caught.value.zh

    def test_addresses_of_the_environment(self, monkeypatch: pytest.MonkeyPatch, comfyui: Simulator) -> None:
        with Simulator() as other:
            monkeypatch.setenv("COMFYUI_URL", f"{comfyui.url}, {other.url}")
            with comfybridge.connect() as comfy:
                urls = [server.url for server in comfy.servers()]

            assert urls == [comfyui.url, other.url]

    def test_key_and_headers_are_sent(self) -> None:
        with Simulator(api_key="k3y") as comfyui:
            with comfybridge.connect(comfyui.url, api_key="k3y", headers={"X-Tenant": "a"}) as comfy:
                comfy.generate("a fox", **SMALL)
            seen = comfyui.received("POST", "/prompt")[0].headers

            with comfybridge.connect(comfyui.url) as comfy, pytest.raises(comfybridge.Unavailable, match="401"):
                comfy.generate("a fox", **SMALL)

        assert (seen["Authorization"], seen["X-Tenant"]) == ("Bearer k3y", "a")

    @pytest.mark.parametrize("words", [["blood", "gore"], "blood, gore"], ids=["list", "text"])
    def test_blocked_words_are_refused(self, comfyui: Simulator, words: Any) -> None:
        with comfybridge.connect(comfyui.url, blocked_words=words) as comfy:
            rows: list[dict[str, Any]] = [
                {"prompt": "a pool of blood"},
                {"prompt": "a fox", "negative_prompt": "no gore"},
                {"prompt": "a fox", "values": {"note": "gore"}},
                {"workflow": "sd15", "prompt": "gore"},
                {"workflow": {"1": {"class_type": "Note", "inputs": {"text": "gore"}}}},
            ]
            errors = [str(end.error) for end in comfy.map(rows)]

        assert ["blocks" in error for error in errors] == [True] * 5
        assert comfyui.count("POST", "/prompt") == 0

    def test_pixels_are_bounded(self, comfyui: Simulator) -> None:
        with (
            comfybridge.connect(comfyui.url, max_pixels=64 * 64) as comfy,
            pytest.raises(comfybridge.InvalidInput, match="megapixels"),
        ):
            comfy.generate("a fox", **{**SMALL, "height": 128})

    def test_templates_of_ones_own(self, comfyui: Simulator, tmp_path: Path) -> None:
        (tmp_path / "poster@2.json").write_text(json.dumps(library.load("sd15").prompt))
        (tmp_path / "poster@2.yaml").write_text(
            "title: {en_US: Poster}\nabout: {en_US: A poster}\ntask: text2image\ncomfyui: 0.3.45\n"
        )
        with comfybridge.connect(comfyui.url, templates_dir=tmp_path) as comfy:
            result = comfy.generate("a fox", template="poster", width=64, height=64)
            names = [template.name for template in comfy.templates()]
            able = comfy.servers()[0].can_run

        assert result.template == "poster@2"
        assert "poster@2" in names
        assert "poster@2" in able

    def test_broken_template_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "poster.json").write_text("{}")
        (tmp_path / "poster.yaml").write_text("colour: red")

        with pytest.raises(comfybridge.InvalidInput, match=r"poster\.yaml lacks"):
            comfybridge.connect("http://127.0.0.1:1", templates_dir=tmp_path)
        with pytest.raises(comfybridge.InvalidInput, match="no folder"):
            comfybridge.connect("http://127.0.0.1:1", templates_dir=tmp_path / "none")


class TestServers:
    def test_each_tells_what_it_is_or_why_not(self, comfyui: Simulator) -> None:
        with comfybridge.connect(comfyui.url, "http://127.0.0.1:1") as comfy:
            good, bad = comfy.servers()

        assert (good.version, good.waiting, good.error) == ("0.8.0", 0, None)
        assert "sd15" in good.can_run
        assert {each.template.name for each in good.lacking} >= {"flux-dev"}
        assert isinstance(bad.error, comfybridge.Unavailable)

    def test_workflow_is_looked_into(self, comfy: comfybridge.Comfy) -> None:
        graph = comfy.convert("sdxl")

        assert comfy.inspect(graph)["roles"]["steps"][0]["value"] == library.load("sdxl").prompt["3"]["inputs"]["steps"]
        assert comfy.check(graph) == []
        (problem,) = comfy.check("flux-dev")
        assert (problem.code, "flux1-dev-fp8.safetensors" in problem.message_en) == ("missing_model", True)


class TestSaving:
    def test_folder_never_loses_a_file(self, tmp_path: Path) -> None:
        file = File(PNG, "fox.png", "image/png")

        paths = [file.save(f"{tmp_path}/new/") for _ in range(3)]

        assert [path.name for path in paths] == ["fox.png", "fox-2.png", "fox-3.png"]
        assert paths[0].read_bytes() == PNG

    @pytest.mark.parametrize(
        ("asked", "saved"),
        [
            ("bund.png", "bund.png"),
            ("bund.PNG", "bund.PNG"),
            ("bund.jpg", "bund.png"),
            ("bund", "bund.png"),
            ("bund.v2", "bund.png"),
            ("poster.1080", "poster.1080.png"),
            ("v1.0 final", "v1.0 final.png"),
        ],
    )
    def test_extension_is_that_of_the_file(self, tmp_path: Path, asked: str, saved: str) -> None:
        path = File(PNG, "fox.png", "image/png").save(tmp_path / "deep" / asked)

        assert path == tmp_path / "deep" / saved
        assert path.read_bytes() == PNG

    def test_jpeg_by_either_name(self, tmp_path: Path) -> None:
        assert File(b"\xff\xd8\xff", "fox.jpg", "image/jpeg").save(tmp_path / "a.jpeg").name == "a.jpeg"

    def test_name_replaces_what_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"old")

        File(PNG, "fox.png", "image/png").save(tmp_path / "a.png")

        assert (tmp_path / "a.png").read_bytes() == PNG

    def test_bytes_are_not_shown(self) -> None:
        assert repr(File(PNG, "fox.png", "image/png")) == "File('fox.png', 'image/png', 8 bytes)"


class TestPackage:
    def test_public_names(self) -> None:
        assert comfybridge.__all__ == [
            "Cancelled", "Comfy", "ComfyError", "Done", "Event", "Failed", "File", "InvalidInput", "Job", "Lost",
            "NoServer", "Rejected", "Result", "ServerState", "TimedOut", "Unavailable", "connect",
        ]  # fmt: skip
        assert all(getattr(comfybridge, name).__name__ == name for name in comfybridge.__all__)

    def test_no_other_name(self) -> None:
        with pytest.raises(AttributeError, match="conect"):
            _ = comfybridge.conect

    def test_import_takes_nothing_heavy_along(self) -> None:
        heavy = ("dify_plugin", "requests", "urllib3", "websocket", "yaml", "aiohttp", "PIL", "rich")
        program = f"import sys, comfybridge; print([name for name in {heavy!r} if name in sys.modules])"

        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

        assert told == "[]\n"

    def test_package_says_that_it_is_typed(self) -> None:
        assert resources.files("comfybridge").joinpath("py.typed").is_file()

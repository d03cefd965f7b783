"""``generate``, ``variations``, ``run``, ``result``, ``cancel`` and ``demo``, as they are typed."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import comfybridge
from comfybridge.cli import main
from comfybridge.media import image_size
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure

SMALL = ("--template", "sd15", "--width", "64", "--height", "64", "--steps", "2")


@pytest.fixture
def server(comfyui: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("COMFYUI_URL", comfyui.url)
    return comfyui


def posted(server: Simulator) -> str:
    return str(server.received("POST", "/prompt")[-1].body)


@pytest.mark.usefixtures("server")
class TestOutput:
    def test_path_goes_to_standard_output_and_progress_to_the_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        status = main(["generate", "a fox", *SMALL, "--seed", "7"])

        printed = capsys.readouterr()
        (path,) = printed.out.splitlines()
        assert status == 0
        assert image_size(Path(path).read_bytes()) == (64, 64)
        lines = printed.err.splitlines()
        assert lines[0].startswith("queued at http://127.0.0.1:")
        assert lines[-2] == "KSampler 2/2"
        assert lines[-1].startswith("64×64, seed 7, sd15@1, ")
        assert "\x1b" not in printed.err + printed.out

    def test_quiet_prints_the_path_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["generate", "a fox", *SMALL, "-q"])

        printed = capsys.readouterr()
        assert (printed.err, len(printed.out.splitlines())) == ("", 1)

    def test_json_has_everything(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        status = main(["generate", "a fox", *SMALL, "--seed", "7", "--json", "-o", "fox.png"])

        printed = capsys.readouterr()
        told = json.loads(printed.out)
        assert status == 0
        assert printed.err == ""
        assert {key: told[key] for key in ("outcome", "seed", "server", "template", "width", "row")} == {
            "outcome": "succeeded", "seed": 7, "server": server.url, "template": "sd15@1", "width": 64, "row": 1,
        }  # fmt: skip
        assert told["prompt_id"] in server.history
        assert told["files"] == [{"path": "fox.png", "mime": "image/png", "bytes": Path("fox.png").stat().st_size}]

    @pytest.mark.parametrize(
        ("output", "saved"),
        [
            ("fox.png", ["fox-2.png", "fox.png"]),
            ("fox.jpg", ["fox-2.png", "fox.png"]),
            ("out/", ["SD1.5_00001_.png", "SD1.5_00002_.png"]),
            ("out", ["SD1.5_00001_.png", "SD1.5_00002_.png"]),
            ("{template}/{seed:05d}_{n}.png", ["00007_1.png", "00007_2.png"]),
            ("{row:03d}_{width}x{height}", ["001_64x64-2.png", "001_64x64.png"]),
        ],
    )
    def test_files_go_where_they_shall(self, output: str, saved: list[str]) -> None:
        status = main(["generate", "a fox", *SMALL, "--seed", "7", "--count", "2", "-o", output, "--quiet"])

        assert status == 0
        assert sorted(path.name for path in Path().rglob("*.png")) == saved

    @pytest.mark.parametrize("pattern", ["{nonsense!}.png", "{0}.png", "{seed.real}.png"])
    def test_pattern_that_is_none_is_refused(
        self, server: Simulator, capsys: pytest.CaptureFixture[str], pattern: str
    ) -> None:
        assert main(["generate", "a fox", *SMALL, "-o", pattern]) == 2
        assert "--output" in capsys.readouterr().err
        assert server.count("POST", "/prompt") == 0

    def test_unknown_field_is_refused_before_anything_is_made(
        self, server: Simulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["generate", "a fox", *SMALL, "-o", "{colour}.png"]) == 2
        assert "prompt_id" in capsys.readouterr().err
        assert server.count("POST", "/prompt") == 0

    def test_place_that_cannot_be_written_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("taken").write_text("a file")

        assert main(["generate", "a fox", *SMALL, "-o", "taken/x.png", "--quiet"]) == 2
        assert "cannot be written" in capsys.readouterr().err


class TestWishes:
    def test_every_option_reaches_the_graph(self, server: Simulator) -> None:
        Path("list.txt").write_text("blood # a comment\n\n# gore\n")
        status = main([
            "generate", "a fox", "--template", "sd15", "--size", "1:1", "--width", "128", "--steps", "3",
            "--cfg", "4.5",
            "--sampler", "dpmpp_2m", "--scheduler", "karras", "--model", "v1-5", "--lora", "ink_sketch:0.5",
            "--lora", "film_grain", "--negative-prompt", "gore", "--seed", "11", "--format", "webp", "--no-metadata",
            "--set", "filename_prefix=mine", "--blocked-words", "list.txt", "--header", "X-Tenant: a", "--quiet",
        ])  # fmt: skip

        graph = posted(server)
        assert status == 0
        for expected in (
            "dpmpp_2m",
            "karras",
            "4.5",
            "ink_sketch.safetensors",
            "film_grain.safetensors",
            "mine",
            "128",
        ):
            assert expected in graph
        assert server.received("POST", "/prompt")[-1].headers["X-Tenant"] == "a"
        assert [path.suffix for path in Path().iterdir()].count(".webp") == 1

    def test_prompt_of_standard_input(self, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("a fox from a pipe\n"))

        assert main(["generate", "-", *SMALL, "--quiet"]) == 0
        assert "a fox from a pipe" in posted(server)

    def test_picture_to_begin_with(self, server: Simulator) -> None:
        main(["generate", "a fox", *SMALL, "--quiet", "-o", "fox.png"])

        assert main(["generate", "a red fox", "--image", "fox.png", "--steps", "1", "--quiet"]) == 0
        assert "LoadImage" in posted(server)

    def test_workflow_with_values(self, server: Simulator) -> None:
        main(["generate", "a fox", *SMALL, "--quiet", "-o", "fox.png"])

        status = main(["run", "fox.png", "--prompt", "a wolf", "--seed", "4", "--set", "steps=1", "--quiet"])

        assert status == 0
        assert "a wolf" in posted(server)
        assert "'seed': 4" in posted(server) or '"seed": 4' in posted(server)


class TestExitStatus:
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (("generate", ""), 2),
            (("generate", "a fox", "--steps", "many"), 2),
            (("generate", "a fox", "--set", "steps"), 2),
            (("generate", "a fox", "--header", "secret"), 2),
            (("generate", "a fox", "--blocked-words", "missing.txt"), 2),
            (("generate", "a fox", "--template", "flux-dev"), 3),
            (("generate", "a fox", "--server", "http://127.0.0.1:1"), 8),
            (("run", "no such workflow"), 2),
            (("result", "00000000-0000-0000-0000-000000000000"), 7),
            (("cancel", "00000000-0000-0000-0000-000000000000"), 7),
            (("cancel", "x", "--server", "http://127.0.0.1:1"), 8),
        ],
        ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
    )
    def test_what_went_wrong_is_the_status(
        self, server: Simulator, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int
    ) -> None:
        assert main(list(arguments)) == status
        assert capsys.readouterr().err

        assert main([*arguments, "--json"]) == status
        told = json.loads(capsys.readouterr().out)
        told = told[0] if isinstance(told, list) else told
        assert told["exit_status"] == status
        assert all(told["error"][language] for language in ("en", "zh"))
        assert server.count("POST", "/prompt") == 0

    def test_failed_node(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        server.inject(NodeFailure("KSampler"))

        assert main(["generate", "a fox", *SMALL]) == 4
        assert "simulated failure" in capsys.readouterr().err

    def test_late_job_tells_how_to_get_it(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        server.hold()
        assert main(["generate", "a fox", *SMALL, "--timeout", "4"]) == 6
        told = capsys.readouterr().err
        server.release()

        (command,) = (line.partition("comfybridge ")[2] for line in told.splitlines() if "fetch it" in line)
        assert main([*command.split(), "-o", "late.png"]) == 0
        assert image_size(Path("late.png").read_bytes()) == (64, 64)

    def test_job_that_somebody_stops(self, server: Simulator) -> None:
        server.hold()

        def stop() -> None:
            server.wait_for("running")
            server.interrupt()
            server.release()

        stopping = threading.Thread(target=stop)
        stopping.start()
        assert main(["generate", "a fox", *SMALL, "--quiet"]) == 5
        stopping.join()

    def test_some_of_several(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        server.inject(NodeFailure("KSampler"), times=1)

        status = main(["variations", "a fox", *SMALL, "-n", "3", "--jobs", "1", "--json"])

        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert status == 1
        assert sorted(line["outcome"] for line in lines) == ["failed", "succeeded", "succeeded"]
        assert sorted(line["row"] for line in lines) == [1, 2, 3]

    def test_mistyped_command_is_a_usage_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["genrate", "a fox"])

        assert caught.value.code == 2
        assert "generate" in capsys.readouterr().err


class TestSeveral:
    def test_phrases_and_labels(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        status = main(["variations", "a fox", *SMALL, "--add", "in snow", "--add", "at night", "-o", "{row}.png"])

        printed = capsys.readouterr()
        assert status == 0
        assert sorted(printed.out.splitlines()) == ["1.png", "2.png"]
        assert "1 a fox, in snow: running" in printed.err.splitlines()
        assert server.count("POST", "/prompt") == 2

    def test_cancel_and_result_of_several(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        with comfybridge.connect(server.url) as comfy:
            done = comfy.generate("a fox", template="sd15", width=64, height=64, steps=1)
            server.hold()
            job = comfy.submit("a wolf", template="sd15", width=64, height=64, steps=1)
            server.wait_for("running")

            status = main(["cancel", job.prompt_id, done.prompt_id])
            server.release()

        assert status == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{job.prompt_id}: cancelled",
            f"{done.prompt_id}: has finished: nothing to cancel",
        ]
        assert main(["result", done.prompt_id, job.prompt_id, "--json"]) == 1
        told = [json.loads(line)["outcome"] for line in capsys.readouterr().out.splitlines()]
        assert told == ["succeeded", "cancelled"]


class TestLanguage:
    @pytest.mark.parametrize(("name", "value"), [("LANG", "zh_CN.UTF-8"), ("LC_ALL", "zh_TW"), ("LC_MESSAGES", "zh")])
    def test_chinese_where_the_environment_says_so(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv("LANG", "en_GB.UTF-8")
        monkeypatch.setenv(name, value)

        main(["generate", "a fox"])

        assert capsys.readouterr().err.startswith("没有服务器")

    def test_later_variables_count_less(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")

        main(["generate", "a fox"])

        assert capsys.readouterr().err.startswith("No server")

    @pytest.mark.usefixtures("server")
    def test_progress_is_chinese_too(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")

        main(["generate", "a fox", *SMALL])

        assert "运行中" in capsys.readouterr().err.splitlines()


class TestTemplates:
    def test_list_is_by_task(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["templates", "--task", "text2video"]) == 0

        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "text2video"
        assert lines[1].split()[:2] == ["wan22-text2video", "wan2.2_ti2v_5B_fp16.safetensors,"]

    def test_server_tells_what_it_lacks(self, server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        main(["templates", "--server", server.url])
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        main(["templates", "--json"])
        told: dict[str, Any] = {each["name"]: each for each in json.loads(capsys.readouterr().out)}

        assert ["✗", "flux-dev", "lacks", "flux1-dev-fp8.safetensors"] in lines
        assert told["flux-dev@1"]["lacks"] == ["flux1-dev-fp8.safetensors"]
        assert (told["flux-dev@1"]["can_run"], told["sd15@1"]["can_run"]) == (False, True)

    def test_one_in_full(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        main(["templates", "z-image-turbo"])
        english = capsys.readouterr().out
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")
        main(["templates", "z-image-turbo"])
        chinese = capsys.readouterr().out

        assert "models/vae/ae.safetensors" in english
        assert "https://modelscope.cn/models/Comfy-Org/z_image_turbo" in english
        assert "ComfyUI 0.3.75 及以上" in chinese

    def test_unknown_name_has_its_nearest(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["templates", "sdd15"]) == 2
        assert "Did you mean sd15" in capsys.readouterr().err


def test_demo_makes_one_picture_without_a_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfybridge.cli.demo._WORK_S", 0.0)

    status = main(["demo", "a fox", "-o", "fox.png", "--width", "64", "--height", "64"])

    printed = capsys.readouterr()
    assert (status, printed.out) == (0, "fox.png\n")
    assert "no diffusion model ran" in printed.err
    assert "comfybridge generate --server http://127.0.0.1:8188 'a fox'" in printed.err

"""The commands as processes: what is killed, interrupted or begun twice goes on without a row made twice."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfybridge.cli import main
from comfybridge.convert import read_saved
from comfybridge.fingerprint import fingerprint
from comfybridge.simulator import Simulator
from tests.batch.making import write
from tests.core.making import catalogue

COMMAND = (sys.executable, "-m", "comfybridge.cli")
SMALL = ("--template", "sd15", "--width", "64", "--height", "64", "--steps", "1")
ROWS = 12


@pytest.fixture
def table(tmp_path: Path) -> Path:
    text = "prompt,seed\n" + "".join(f"fox {row},{row}\n" for row in range(ROWS))
    return write(tmp_path / "rows.csv", text)


def batch(table: Path, url: str, *more: str) -> list[str]:
    return ["batch", str(table), "-o", str(table.parent / "out"), "--server", url, *SMALL, *more]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(
        (*COMMAND, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**environ, "LANG": "C"}
    )


def finished(arguments: list[str]) -> tuple[int, str, str]:
    process = started(arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def assert_each_row_once(comfyui: Simulator, out: Path) -> None:
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(line["row"] for line in lines if line["outcome"] == "succeeded") == list(range(1, ROWS + 1))
    assert len(list(out.glob("*.png"))) == ROWS
    seeds = Counter(
        entry["prompt"][2]["3"]["inputs"]["seed"]
        for entry in comfyui.history.values()
        if entry["status"]["status_str"] == "success"
    )
    assert seeds == dict.fromkeys(range(ROWS), 1)


def test_batch_goes_on_after_it_was_killed(comfyui: Simulator, table: Path) -> None:
    process = started(batch(table, comfyui.url, "--jobs", "3"))
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    comfyui.hold()
    comfyui.wait_for("running")
    comfyui.wait_for(lambda server: len(server.running) + len(server.pending) == 3)
    process.kill()
    process.communicate()
    comfyui.release()

    status, _, told = finished(batch(table, comfyui.url))

    assert status == 0, told
    assert_each_row_once(comfyui, table.parent / "out")
    assert comfyui.count("POST", "/prompt") == ROWS


def test_ctrl_c_cancels_and_the_same_command_goes_on(comfyui: Simulator, table: Path) -> None:
    process = started(batch(table, comfyui.url, "--jobs", "3"))
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    comfyui.hold()
    comfyui.wait_for(lambda server: len(server.running) + len(server.pending) == 3)
    process.send_signal(signal.SIGINT)
    comfyui.wait_for(lambda server: not server.pending)
    comfyui.release()
    _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    assert f"of {ROWS} rows are done; the same command goes on with the others." in told
    comfyui.wait_for("idle")
    assert (table.parent / "out" / "index.html").is_file()

    status, _, told = finished(batch(table, comfyui.url))

    assert status == 0, told
    assert_each_row_once(comfyui, table.parent / "out")


def test_second_process_in_one_folder_is_refused(comfyui: Simulator, table: Path) -> None:
    comfyui.hold()
    process = started(batch(table, comfyui.url))
    comfyui.wait_for("running")

    status, _, told = finished(batch(table, comfyui.url))
    comfyui.release()

    assert (status, "Another process works in" in told) == (2, True)
    assert process.communicate(timeout=60)[1].startswith("100.0% of 12 rows")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("promt\na\n", [], "Nothing takes the column promt. Did you mean prompt"),
        ("prompt\na\n", ["--name", "../{row}"], "it leads out of the output folder"),
        ("prompt\na\n", ["--jobs", "0"], "--jobs must be 1 or more"),
        ("prompt,seed\na,x\n", [], "No row can be made; nothing was sent."),
    ],
)
def test_what_cannot_be_used_is_refused_whole(
    capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path, text: str, more: list[str], told: str
) -> None:
    status = main(batch(write(tmp_path / "rows.csv", text), comfyui.url, *more))

    assert status == 2
    assert told in capsys.readouterr().err
    assert comfyui.count("POST", "*") == 0
    assert not (tmp_path / "out").exists()


def test_json_is_a_line_for_each_row(capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "prompt,seed\na fox,1\na hare,x\n")

    status = main(batch(path, comfyui.url, "--json"))

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 1
    assert [(line.get("row"), line.get("outcome")) for line in lines] == [
        (2, "rejected"),
        (1, "succeeded"),
        (None, None),
    ]
    assert (lines[0]["error"]["line"], lines[0]["error"]["column"]) == (3, "seed")
    assert lines[2]["summary"]["outcomes"] == {"succeeded": 1, "rejected": 1}


def test_dry_run_sends_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "prompt,seed\na fox,1\na hare,x\n")

    assert main(["batch", str(path), "--dry-run"]) == 1

    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "1: prompt a fox, seed 1"
    assert "line 3, column seed: seed must be a number" in told.out


def test_set_makes_exact_pictures(capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path) -> None:
    arguments = ["social", "autumn", "--only", "wechat_cover", "--only", "weibo", "-o", str(tmp_path), "--json"]

    assert main([*arguments, "--server", comfyui.url]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((line["name"], line["width"], line["height"]) for line in lines[:-1]) == [
        ("autumn_wechat_cover", 900, 383),
        ("autumn_weibo", 1200, 675),
    ]


def reproduced(capsys: pytest.CaptureFixture[str], what: str, out: Path, url: str) -> dict[str, Any]:
    status = main(["reproduce", what, "-o", f"{out}/", "--server", url, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status == 0, told
    return told


def assert_same_graph(comfyui: Simulator, made: dict[str, Any]) -> None:
    sent = [fingerprint(entry["prompt"][2]) for entry in comfyui.history.values()]
    assert sent == [made["graph_hashes"][0]] * 2
    assert made["compared"][0]["en"] == "The same graph was sent."


def test_picture_is_made_once_more(capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "prompt,seed\na fox,7\n")
    main(batch(path, comfyui.url, "--name", "fox"))
    capsys.readouterr()

    made = reproduced(capsys, str(tmp_path / "out" / "fox.png"), tmp_path / "again", comfyui.url)

    assert_same_graph(comfyui, made)
    assert made["compared"][1]["en"] == "The files are the same, but for their metadata."
    again = Path(made["results"][0]["files"][0]["path"])
    assert fingerprint(read_saved(again.read_bytes())) == made["graph_hashes"][0]


def test_file_without_metadata_is_found_in_its_batch(
    capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.csv", "prompt,seed\na fox,7\n")
    main([*batch(path, comfyui.url, "--name", "deep/{name}fox"), "--format", "webp"])
    capsys.readouterr()

    made = reproduced(capsys, str(tmp_path / "out" / "deep" / "fox.webp"), tmp_path / "again", comfyui.url)

    assert_same_graph(comfyui, made)


@pytest.mark.parametrize("form", ["webp", "jpeg"])
def test_exif_of_other_forms_is_read(
    capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path, form: str
) -> None:
    path = write(tmp_path / "rows.csv", "prompt,seed\na fox,7\n")
    main(batch(path, comfyui.url, "--name", "fox"))
    capsys.readouterr()
    with Image.open(tmp_path / "out" / "fox.png") as picture:
        exif = picture.getexif()
        # As ComfyUI's SaveAnimatedWEBP does it.
        exif[0x0110] = f"prompt:{picture.text['prompt']}"  # type: ignore[attr-defined]  # PNG's own
        picture.convert("RGB").save(tmp_path / f"fox.{form}", exif=exif)

    made = reproduced(capsys, str(tmp_path / f"fox.{form}"), tmp_path / "again", comfyui.url)

    assert_same_graph(comfyui, made)


def test_video_is_made_once_more(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--template", "wan22-text2video", "--set", "frames=5", "--width", "64", "--height", "64"]
    with Simulator(models=catalogue()) as comfyui:
        assert main(["generate", "waves", "-o", f"{tmp_path}/", "--server", comfyui.url, *arguments]) == 0
        video = next(tmp_path.glob("*.mp4"))
        capsys.readouterr()

        assert_same_graph(comfyui, reproduced(capsys, str(video), tmp_path / "again", comfyui.url))


def test_model_that_is_gone_is_told(capsys: pytest.CaptureFixture[str], comfyui: Simulator, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "prompt\na fox\n")
    main(batch(path, comfyui.url, "--name", "fox"))
    with Simulator(models=["sdxl"]) as other:
        status = main(["reproduce", str(tmp_path / "out" / "fox.png"), "--server", other.url, "-o", str(tmp_path)])

        assert status == 3
        assert "v1-5-pruned-emaonly-fp16.safetensors' is not on the server" in capsys.readouterr().err
        assert other.count("POST", "/prompt") == 0


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("none.png", "cannot be read"),
        ("plain.png", "does not say what made it"),
        ("results.jsonl:5", "has no row 5"),
        ("results.jsonl:2", "has no graph for row 2"),
    ],
)
def test_what_cannot_be_reproduced_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str, told: str
) -> None:
    (tmp_path / "plain.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82")
    write(tmp_path / "results.jsonl", '{"row": 2, "content": "a", "outcome": "rejected"}\n')

    assert main(["reproduce", str(tmp_path / what), "--server", "http://127.0.0.1:9"]) == 2
    assert told in capsys.readouterr().err

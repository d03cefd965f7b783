"""Batches over real connections: files, manifest, and each row once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import comfybridge
from comfybridge.api import Comfy
from comfybridge.batch import folder, manifest, naming, plan, tables
from comfybridge.batch.run import Batch
from comfybridge.fingerprint import fingerprint
from comfybridge.media import image_size
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure
from tests.batch.making import SMALL, run, write

THREE = "prompt,seed,name\na fox,1,x\n狐狸,2,\na hare,3,y\n"


@pytest.fixture
def comfy(comfyui: Simulator) -> Iterator[Comfy]:
    with comfybridge.connect(comfyui.url, timeout=30) as comfy:
        yield comfy


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.csv", THREE)


def prompts(comfyui: Simulator) -> int:
    return comfyui.count("POST", "/prompt")


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("[!.]*"))


def test_pictures_manifest_sheet_and_summary(comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path) -> None:
    entries, summary = run(comfy, table, tmp_path / "out")

    out = tmp_path / "out"
    assert names(out) == [
        "0001_1.png",
        "0002_2.png",
        "0003_3.png",
        "batch.json",
        "index.html",
        "results.jsonl",
        "summary.json",
    ]
    fox = manifest.read_row(out / manifest.NAME, 1)
    assert fox is not None
    assert (fox["outcome"], fox["seed"], fox["name"], fox["line"], fox["server"]) == (
        "succeeded",
        1,
        "x",
        2,
        comfyui.url,
    )
    assert fox["template"] == "sd15@1"
    assert fox["parameters"]["prompt"] == "a fox"
    assert list(fox["prompt_ids"]) == [each for each in comfyui.history if each in fox["prompt_ids"]]
    assert fox["graphs"][0]["hash"] == fingerprint(fox["graphs"][0]["prompt"])
    (file,) = fox["files"]
    assert (file["path"], file["width"], file["height"]) == ("0001_1.png", 64, 64)
    assert file["bytes"] == (out / "0001_1.png").stat().st_size
    assert fox["started"] < fox["finished"]
    assert (len(entries), summary.success_rate, summary.times[0].rows) == (3, 1.0, 3)
    assert json.loads((out / "summary.json").read_text())["outcomes"] == {"succeeded": 3}
    assert (out / "index.html").read_text(encoding="utf-8").count("<article") == 3


def test_second_run_makes_nothing(comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path) -> None:
    run(comfy, table, tmp_path / "out")

    entries, summary = run(comfy, table, tmp_path / "out")

    assert (entries, prompts(comfyui), summary.rows) == ([], 3, 3)


def test_only_what_changed_is_made(comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path) -> None:
    run(comfy, table, tmp_path / "out")
    # One row moved, one is new, one is another now.
    write(table, "prompt,seed,name\na dog,9,\na fox,1,x\na hare,3,y\n狐狸,4,\n")

    entries, _ = run(comfy, table, tmp_path / "out")

    assert sorted((entry["row"], entry["seed"]) for entry in entries) == [(1, 9), (4, 4)]
    assert prompts(comfyui) == 5


def test_picture_that_was_deleted_comes_back(comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path) -> None:
    run(comfy, table, tmp_path / "out")
    before = (tmp_path / "out" / "0002_2.png").read_bytes()
    (tmp_path / "out" / "0002_2.png").unlink()

    entries, _ = run(comfy, table, tmp_path / "out")

    assert [entry["row"] for entry in entries] == [2]
    assert (tmp_path / "out" / "0002_2.png").read_bytes() == before
    # ComfyUI still has it: nothing is drawn.
    assert prompts(comfyui) == 3


def test_bad_rows_stop_no_other(comfy: Comfy, comfyui: Simulator, tmp_path: Path) -> None:
    text = "prompt,seed,template\na fox,1,\n,2,\na hare,x,\na cat,4,nosuch\na dog,5,\n"
    table = write(tmp_path / "rows.csv", text)

    entries, summary = run(comfy, table, tmp_path / "out")
    again, _ = run(comfy, table, tmp_path / "out")

    lines = list(manifest.Manifest(tmp_path / "out" / manifest.NAME).entries())
    assert [(line["row"], line["outcome"]) for line in lines] == [
        (1, "succeeded"),
        (2, "rejected"),
        (3, "rejected"),
        (4, "rejected"),
        (5, "succeeded"),
    ]
    assert lines[2]["error"] == {
        "en": "seed must be a number from -1 to 18446744073709551615, not 'x'",
        "zh": "seed 必须是 -1 到 18446744073709551615 的数字，而不是 'x'",
        "line": 4,
        "column": "seed",
    }
    assert "There is no template 'nosuch'" in lines[3]["error"]["en"]
    assert (sorted(entry["row"] for entry in entries), summary.rows) == ([1, 4, 5], 5)
    assert (again, prompts(comfyui)) == ([], 2)


def test_failed_rows_are_made_again_when_asked(comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path) -> None:
    comfyui.inject(NodeFailure(node="KSampler"), times=1)
    first, _ = run(comfy, table, tmp_path / "out", jobs=1)
    second, _ = run(comfy, table, tmp_path / "out")
    third, summary = run(comfy, table, tmp_path / "out", retries=True)

    assert [entry["outcome"] for entry in first] == ["failed", "succeeded", "succeeded"]
    assert "KSampler" in first[0]["error"]["en"]
    assert second == []
    assert [(entry["row"], entry["outcome"]) for entry in third] == [(1, "succeeded")]
    assert summary.outcomes == {"succeeded": 3}


def test_files_of_one_row_are_counted_and_none_is_written_over(comfy: Comfy, tmp_path: Path) -> None:
    table = write(tmp_path / "rows.csv", "prompt,count,name\na fox,2,same\na hare,1,same\n")

    run(comfy, table, tmp_path / "out", pattern="{name}/{n}.png")

    pictures = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert pictures == ["same/1-2.png", "same/1.png", "same/2.png"]


def test_extension_is_that_of_the_file(comfy: Comfy, tmp_path: Path) -> None:
    table = write(tmp_path / "rows.csv", "prompt,format\na fox,webp\na hare,jpeg\n")

    run(comfy, table, tmp_path / "out", pattern="{row}.png")

    assert names(tmp_path / "out")[:2] == ["1.webp", "2.jpg"]


def test_named_values_and_files_beside_the_table(comfy: Comfy, comfyui: Simulator, tmp_path: Path) -> None:
    run(comfy, write(tmp_path / "first.csv", "prompt\na fox\n"), tmp_path, pattern="fox")
    given = {"template": "sd15-image2image", "steps": "1"}
    table = write(tmp_path / "rows.csv", "prompt,images,denoise\na red fox,fox.png,0.4\na hare,gone.png,\n")

    entries, summary = run(comfy, table, tmp_path / "out", given=given)

    assert [(entry["outcome"], entry["row"]) for entry in entries] == [("succeeded", 1)]
    assert summary.outcomes == {"succeeded": 1, "rejected": 1} or entries[0]["parameters"]["denoise"] == 0.4
    assert comfyui.count("POST", "/upload/image") == 1


def test_exact_sizes_of_the_sets(comfy: Comfy, tmp_path: Path) -> None:
    sizes = ["800x800!", "1200x800!", "1024x768!", "wechat_cover", "1920x1080!", "333x221!"]
    text = "prompt,size\n" + "".join(f"a fox,{size}\n" for size in sizes)

    run(comfy, write(tmp_path / "rows.csv", text), tmp_path / "out", pattern="{row}", given={"steps": "1"})

    made = [image_size((tmp_path / "out" / f"{row}.png").read_bytes()) for row in range(1, 7)]
    assert made == [(800, 800), (1200, 800), (1024, 768), (900, 383), (1920, 1080), (333, 221)]


def test_servers_share_the_rows(comfyui: Simulator, tmp_path: Path) -> None:
    text = "prompt,seed\n" + "".join(f"fox {row},{row}\n" for row in range(12))
    with Simulator() as other, comfybridge.connect(comfyui.url, other.url, timeout=30) as comfy:
        _, summary = run(comfy, write(tmp_path / "rows.csv", text), tmp_path / "out", jobs=2)

        assert summary.outcomes == {"succeeded": 12}
        assert prompts(comfyui) + prompts(other) == 12
        assert min(prompts(comfyui), prompts(other)) >= 3


def test_server_that_comes_back_finds_its_rows_again(comfy: Comfy, comfyui: Simulator, tmp_path: Path) -> None:
    text = "prompt,seed\n" + "".join(f"fox {row},{row}\n" for row in range(6))
    planned = plan.of_table(tables.open_table(write(tmp_path / "rows.csv", text)), SMALL)
    with folder.opened(tmp_path / "out") as opened:
        batch = Batch(
            comfy=comfy,
            plan=planned,
            folder=opened,
            manifest=manifest.Manifest(tmp_path / "out" / manifest.NAME),
            pattern=naming.pattern("{row}"),
            jobs=1,
        )
        ends = batch.run()
        next(ends)
        comfyui.stop()
        comfyui.start()

        assert len(list(ends)) == 5

    assert batch.outcomes == {"succeeded": 6}
    assert batch.left == 0


def test_no_server_leaves_the_rows_for_another_run(tmp_path: Path, table: Path) -> None:
    with comfybridge.connect("http://127.0.0.1:9", timeout=30) as comfy:
        entries, summary = run(comfy, table, tmp_path / "out")

    assert (entries, summary.rows) == ([], 0)
    assert names(tmp_path / "out") == ["batch.json", "index.html", "summary.json"]


def test_one_batch_finds_its_jobs_by_its_own_keys_only(
    comfy: Comfy, comfyui: Simulator, table: Path, tmp_path: Path
) -> None:
    run(comfy, table, tmp_path / "a")
    run(comfy, table, tmp_path / "b")

    assert prompts(comfyui) == 6

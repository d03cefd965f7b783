"""The manifest, the output folder and the sheet, as files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from comfybridge.batch import folder, sheet
from comfybridge.batch.manifest import Manifest, read_row
from comfybridge.batch.summary import summary
from comfybridge.errors import InvalidInput
from comfybridge.fingerprint import as_submitted, fingerprint


def entry(row: int, content: str, outcome: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {"row": row, "content": content, "outcome": outcome, **more}


def test_last_line_of_a_row_counts(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "results.jsonl")
    manifest.append(entry(2, "b", "failed"))
    manifest.append(entry(1, "a"))
    manifest.append(entry(2, "b"))

    again = Manifest(tmp_path / "results.jsonl")

    assert [(each["row"], each["outcome"]) for each in again.entries()] == [(1, "succeeded"), (2, "succeeded")]
    assert (again.outcome("b"), again.outcome("c"), again.dropped) == ("succeeded", None, 0)


@pytest.mark.parametrize(
    "torn", [b'{"row": 3, "cont', b"\xff\xfe", b'{"row": 3, "content": "c", "outcome": "succeeded"}']
)
def test_torn_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "results.jsonl"
    Manifest(path).append(entry(1, "a"))
    with path.open("ab") as file:
        file.write(torn)

    manifest = Manifest(path)
    manifest.append(entry(2, "b"))

    assert manifest.dropped == 1
    assert [each["row"] for each in Manifest(path).entries()] == [1, 2]
    assert len(path.read_bytes().splitlines()) == 2


def test_damaged_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"row": 1, "content": "a", "outcome": "failed"}\n\0\0\0\n[]\n')

    manifest = Manifest(path)

    assert (manifest.outcome("a"), manifest.dropped) == ("failed", 2)
    assert read_row(path, 1) == {"row": 1, "content": "a", "outcome": "failed"}
    assert read_row(path, 2) is None


def test_half_of_an_emoji_is_written(tmp_path: Path) -> None:
    Manifest(tmp_path / "m").append(entry(1, "a", name="\ud83d狐"))

    assert [each["name"] for each in Manifest(tmp_path / "m").entries()] == ["?狐"]


def named(name: str) -> Any:
    return lambda copy: PurePosixPath(f"{name}-{copy}.png" if copy > 1 else f"{name}.png")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    with folder.opened(tmp_path) as opened:
        saved = [str(opened.save(data, named("a"))[0]) for data in (b"1", b"2", b"3")]

    assert saved == ["a.png", "a-2.png", "a-3.png"]
    assert (tmp_path / "a-2.png").read_bytes() == b"2"


def test_file_that_a_crash_left_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".comfybridge-part-1").write_bytes(b"half of")
    (tmp_path / "a.png").write_bytes(b"whole")

    with folder.opened(tmp_path) as opened:
        assert str(opened.save(b"whole", named("a"))[0]) == "a.png"
        assert opened.is_new

    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["a.png", "batch.json"]
    assert not list(tmp_path.glob(".comfybridge-part*"))


def test_file_cut_off_by_a_power_cut_is_noticed(tmp_path: Path) -> None:
    with folder.opened(tmp_path) as opened:
        path, _ = opened.save(b"whole", named("a"))
        assert opened.has([{"path": str(path), "bytes": 5}])
        os.truncate(tmp_path / path, 3)
        assert not opened.has([{"path": str(path), "bytes": 5}])
        assert not opened.has([{"path": "b.png", "bytes": 5}])


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from pathlib import Path; from comfybridge.batch import folder\n"
        "with folder.opened(Path(sys.argv[1])): print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code, str(tmp_path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process
        process.kill()


def test_one_process_at_a_time(tmp_path: Path, other_process: subprocess.Popen[str]) -> None:
    with pytest.raises(InvalidInput, match="Another process works in"), folder.opened(tmp_path):
        pass

    other_process.kill()
    other_process.wait()

    with folder.opened(tmp_path) as opened:
        assert not opened.is_new


def test_summary_by_template_and_server() -> None:
    entries = [
        *(entry(row, str(row), seconds=row, template="sd15@1", server="a", files=[{}]) for row in range(1, 21)),
        entry(21, "x", seconds=9, template="sdxl@1", server="b", files=[{}, {}]),
        entry(22, "y", "failed"),
    ]

    told = summary(entries)

    assert (told.rows, told.files, round(told.success_rate, 3)) == (22, 22, 0.955)
    assert [(each.template, each.server, each.rows, each.median_s, each.p95_s) for each in told.times] == [
        ("sd15@1", "a", 20, 10.5, 19),
        ("sdxl@1", "b", 1, 9, 9),
    ]


def test_sheet_escapes_whatever_is_said() -> None:
    evil = "</p><script>alert('1')</script><img src=x onerror=\"a\">"
    entries = [
        entry(
            1,
            "a",
            name=evil,
            template=evil,
            parameters={"prompt": evil},
            files=[{"path": 'a b#?".png', "mime": "image/png"}, {"path": "狐.mp4", "mime": "video/mp4"}],
        ),
        entry(2, "b", "rejected", error={"en": evil, "zh": evil, "line": 3, "column": evil}),
    ]

    page = "".join(sheet.page(evil, entries, summary(entries)))

    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert 'src="a%20b%23%3F%22.png"' in page
    assert '<video src="%E7%8B%90.mp4" controls preload="none">' in page
    assert "//" not in page.replace("https://", "").split("<main>")[1].split("</main>")[0]
    assert "http" not in page.replace("http-equiv", "")


def test_what_comfyui_does_to_a_graph_does_not_count() -> None:
    ours = {
        "3": {"class_type": "KSampler", "inputs": {"cfg": 7, "model": ["4", 0], "name": "a"}, "_meta": {"title": "x"}}
    }
    theirs = {
        "3": {"class_type": "KSampler", "inputs": {"name": "a", "model": ["4", 0], "cfg": 7.0}, "is_changed": [None]}
    }
    other = {"3": {"class_type": "KSampler", "inputs": {"cfg": 7.5, "model": ["4", 0], "name": "a"}}}
    job = {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "X_5b73aeb8-51e9-5ed9-9058-34f06eafc034"}}}

    assert fingerprint(ours) == fingerprint(theirs) != fingerprint(other)
    assert as_submitted(job) == {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "X"}}}
    assert fingerprint(job) == fingerprint(as_submitted(job))

"""``--limit``, ``--warm``, ``--comfyui-dir`` and what ``serve`` hands on to its processes."""

import argparse
from pathlib import Path

import pytest

from comfybridge.cli import scheduling
from comfybridge.service.limits import Limits

ONE, OTHER = "http://one:8188", "http://other:8188"


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", ("", 90.0)), ("poster=2m", ("poster", 120.0)), ("poster@3=1h", ("poster", 3600.0))]
)
def test_limits(text: str, wanted: tuple[str, float]) -> None:
    assert scheduling.limit(text) == wanted


@pytest.mark.parametrize("text", ["soon", "=5m", "poster=", "poster=0", "-5s"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        scheduling.limit(text)


def test_limit_is_that_of_the_template_else_of_all() -> None:
    limits = Limits.of_pairs([("", 60.0), ("poster", 5.0), ("poster", 7.0)])

    assert [limits.of(name) for name in ("poster@2", "poster", "other@1", "")] == [7.0, 7.0, 60.0, 60.0]
    assert Limits.of_pairs([("poster", 5.0)]).of("other") is None


def test_serve_hands_on_what_is_the_workers(tmp_path: Path) -> None:
    command = argparse.ArgumentParser()
    for add in (scheduling.add_keep, scheduling.add_limit, scheduling.add_warm, scheduling.add_folders):
        add(command)
    given = ["--limit", "5m", "--limit", "a=1s", "--warm", "sdxl", "--comfyui-dir", f"{ONE}/={tmp_path}"]
    options = command.parse_args([*given, "--prune-after", "2h"])
    theirs = argparse.ArgumentParser()
    scheduling.add_warm(theirs)
    scheduling.add_folder(theirs)

    one, other = (theirs.parse_args(scheduling.worker_arguments(options, url)) for url in (ONE, OTHER))

    assert (one.warm, one.comfyui_dir, one.prune_after) == (["sdxl"], tmp_path, 7200.0)
    assert (other.warm, other.comfyui_dir) == (["sdxl"], None)
    again = command.parse_args(scheduling.limit_arguments(options.limit))
    assert again.limit == options.limit == [("", 300.0), ("a", 1.0)]


@pytest.mark.parametrize("text", ["/no/such/folder", f"{ONE}=/no/such/folder", "="])
def test_what_is_no_folder_of_a_server(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        scheduling.folder_of(text)

"""``comfybridge simulator``."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from comfybridge.cli import main
from comfybridge.simulator import Simulator

COMMAND = (sys.executable, "-c", "from comfybridge.cli import main; raise SystemExit(main())", "simulator")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    arguments = (*COMMAND, "--port", "0", "--work", "0", "--models", "sdxl")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_command_serves_until_it_is_told_to_stop(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    url = next(word for word in process.stdout.readline().split() if word.startswith("http"))

    models = requests.get(url + "/models/checkpoints", timeout=10).json()
    process.send_signal(signal.SIGTERM)

    assert models == ["sd_xl_base_1.0.safetensors"]
    assert process.wait(timeout=20) == 0


def test_folder_of_workflows_is_served(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a b.json").write_text('{"nodes": []}')
    (tmp_path / "notes.txt").write_text("no workflow")
    arguments = (*COMMAND, "--port", "0", "--work", "0", "--workflows", str(tmp_path))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))

        listed = requests.get(url + "/userdata?dir=workflows&recurse=true", timeout=10).json()
        workflow = requests.get(url + "/api/userdata/workflows%2Fdeep%2Fa%20b.json", timeout=10).json()
        process.terminate()

    assert (listed, workflow) == (["deep/a b.json"], {"nodes": []})


@pytest.mark.parametrize(("name", "told"), [("missing", "no folder"), ("folder", "bad.json is not JSON")])
def test_folder_without_workflows_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "bad.json").write_text("{")

    assert main(["simulator", "--workflows", str(tmp_path / name)]) == 2
    assert told in capsys.readouterr().out


def test_unknown_preset_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulator", "--models", "nonsense"]) == 2
    assert "no model preset 'nonsense'" in capsys.readouterr().out


def test_port_in_use_is_told(capsys: pytest.CaptureFixture[str], comfyui: Simulator) -> None:
    port = comfyui.url.rpartition(":")[2]

    assert main(["simulator", "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().out

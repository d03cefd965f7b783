"""The demo as a user starts it, and the scripts that choose its Python."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator

ROOT = Path(__file__).parents[2]
Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def demo(tmp_path: Path, comfyui: Simulator) -> Demo:
    """Run the demo in an empty folder against the test's simulator."""

    def run(*prompt: str, url: str = comfyui.url) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "comfybridge.demo", *prompt],
            cwd=tmp_path,
            env={**os.environ, "COMFYUI_URL": url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


def test_demo_writes_the_picture_and_says_where(demo: Demo, comfyui: Simulator, tmp_path: Path) -> None:
    done = demo("a fox 狐")

    (picture,) = (tmp_path / "out").iterdir()
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"out/{picture.name}" in done.stdout
    assert "a fox 狐" in done.stdout
    assert "![" in done.stdout
    assert comfyui.url in done.stdout


def test_demo_keeps_earlier_pictures(demo: Demo, comfyui: Simulator, tmp_path: Path) -> None:
    demo("a fox")
    comfyui.forget()
    demo("a wolf")

    assert len(list((tmp_path / "out").iterdir())) == 2


def test_demo_in_a_pipe_has_no_control_characters(demo: Demo) -> None:
    printed = demo("a fox").stdout

    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "100%" in printed


def test_demo_without_a_prompt_has_its_own(demo: Demo) -> None:
    assert "fox" in demo("").stdout


def test_demo_that_fails_says_why(demo: Demo) -> None:
    done = demo("a fox", url="http://127.0.0.1:1")

    assert done.returncode == 1
    assert "http://127.0.0.1:1 refuses the connection" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)], ids=["terminal", "NO_COLOR"])
def test_demo_in_a_terminal(comfyui: Simulator, tmp_path: Path, no_color: str, *, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "comfybridge.demo", "a fox"],
            cwd=tmp_path,
            env={
                **os.environ,
                "COMFYUI_URL": comfyui.url,
                "PYTHONPATH": str(ROOT),
                "NO_COLOR": no_color,
                "TERM": "xterm",
            },
            stdout=theirs,
        )
        os.close(theirs)
        shown = b"".join(iter(lambda: read_terminal(screen.fileno()), b"")).decode()
        assert process.wait() == 0

    assert "\r\x1b[2K" in shown
    assert ("\x1b[36m" in shown) is coloured


def read_terminal(terminal: int) -> bytes:
    """Read what is there; empty at the end, which Linux reports as an error once the other side is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def find_python(*versions: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "python.sh", *versions],
        env={**os.environ, "PYTHON": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_python_that_only_pretends_is_passed_over(tmp_path: Path) -> None:
    shim = executable(tmp_path / f"python{VERSION}", "echo 'command not found' >&2; exit 127")
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    found = find_python(VERSION, PATH=path)

    assert found.returncode == 0
    assert found.stdout.strip() != str(shim)


def test_named_python_comes_first() -> None:
    found = find_python(PYTHON=sys.executable)

    assert found.stdout.strip() == sys.executable


def test_named_python_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    broken = executable(tmp_path / "python3", "exit 3")

    found = find_python(PYTHON=str(broken))

    assert (found.returncode, found.stdout) == (1, "")
    assert f"PYTHON={broken} does not run" in found.stderr


def test_named_python_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    old = executable(tmp_path / "python3", f"echo 3.9 {tmp_path}/python3")

    found = find_python(PYTHON=str(old))

    assert (found.returncode, found.stdout) == (1, "")
    assert "is Python 3.9; this project runs on 3.11, 3.12 and 3.13" in found.stderr


def test_no_python_at_all_is_told_with_a_way_out(tmp_path: Path) -> None:
    found = find_python("3.99", PYENV_ROOT=str(tmp_path))

    assert (found.returncode, found.stdout) == (1, "")
    assert "No Python 3.99 was found" in found.stderr
    assert "make PYTHON=" in found.stderr


@pytest.mark.parametrize(
    "prompt",
    ['it\'s "quoted"', "$HOME $(id) `id` $$", "two\nlines", "狐 🦊", "a\\b", "#comment %x"],
    ids=["quotes", "dollars", "newline", "unicode", "backslash", "others"],
)
def test_make_hands_the_prompt_on_as_typed(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "scripts").mkdir()
    show = executable(tmp_path / "show", 'printf %s "$3"')
    executable(tmp_path / "scripts" / "venv.sh", f"echo {show}")

    made = subprocess.run(
        ["make", "--silent", "-f", ROOT / "Makefile", "demo", f"PROMPT={prompt}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )

    assert made.stdout == prompt

"""The command in processes of its own: signals, terminals and pipes."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfybridge.cli import exits
from comfybridge.cli.commands import COMMANDS
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Delay

COMMAND = (sys.executable, "-m", "comfybridge.cli")
SMALL = ("--template", "sd15", "--width", "64", "--height", "64", "--steps", "4")
ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So in the background of a shell, and children would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        (*COMMAND, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield process
            process.wait(timeout=PATIENCE_S)
        finally:
            process.kill()


class TestCtrlC:
    def test_once_cancels_what_was_started(self, comfyui: Simulator) -> None:
        comfyui.hold()
        arguments = ("variations", "a fox", *SMALL, "-n", "9", "--jobs", "3", "--server", comfyui.url)
        with started(*arguments) as process:
            comfyui.wait_for(lambda server: len(server.running) + len(server.pending) == 3, timeout=PATIENCE_S)
            underway = {*comfyui.running, *comfyui.pending}
            process.send_signal(signal.SIGINT)
            comfyui.wait_for(lambda server: not server.pending, timeout=PATIENCE_S)
            comfyui.release()
            out, err = process.communicate(timeout=PATIENCE_S)

        comfyui.wait_for("idle")
        assert (process.returncode, out) == (exits.INTERRUPTED, "")
        assert "Cancelling in ComfyUI what was started" in err
        assert set(re.findall(r"cancel ([0-9a-f-]{36})", err)) == underway
        assert {entry["status"]["status_str"] for entry in comfyui.history.values()} == {"error"}
        assert comfyui.count("POST", "/prompt") == 3

    def test_twice_leaves_at_once(self, comfyui: Simulator) -> None:
        comfyui.hold()
        with started("generate", "a fox", *SMALL, "--server", comfyui.url) as process:
            comfyui.wait_for("running", timeout=PATIENCE_S)
            # A server that does not answer: one Ctrl-C would wait for it.
            comfyui.inject(Delay(path="/queue", seconds=60))
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "Ctrl-C again" not in process.stderr.readline():
                continue
            pressed = time.monotonic()
            while process.poll() is None and time.monotonic() - pressed < PATIENCE_S:
                # The first of them come so soon that they count as the same one.
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.1)

        assert process.returncode == exits.INTERRUPTED
        assert 0.25 < time.monotonic() - pressed < 20
        comfyui.release()

    def test_json_tells_what_was_cancelled(self, comfyui: Simulator) -> None:
        comfyui.hold()
        with started("generate", "a fox", *SMALL, "--server", comfyui.url, "--json") as process:
            comfyui.wait_for("running", timeout=PATIENCE_S)
            (prompt_id,) = comfyui.running
            process.send_signal(signal.SIGINT)
            comfyui.wait_for(lambda server: server.count("POST", "/interrupt"), timeout=PATIENCE_S)
            comfyui.release()
            out, _ = process.communicate(timeout=PATIENCE_S)

        told = json.loads(out)
        assert (told["interrupted"], told["prompt_ids"], told["exit_status"]) == (True, [prompt_id], 130)

    def test_earlier_job_is_left_alone(self, comfyui: Simulator) -> None:
        comfyui.hold()
        with started("generate", "a fox", *SMALL, "--server", comfyui.url, "--timeout", "4") as first:
            first.communicate(timeout=PATIENCE_S)
        (prompt_id,) = comfyui.running
        asked = comfyui.count("GET", "/queue")
        with started("result", prompt_id, "--server", comfyui.url) as process:
            comfyui.wait_for(lambda server: server.count("GET", "/queue") > asked, timeout=PATIENCE_S)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)

        assert process.returncode == exits.INTERRUPTED
        assert comfyui.running == [prompt_id]
        comfyui.release()
        comfyui.wait_for("idle")
        assert [entry["status"]["status_str"] for entry in comfyui.history.values()] == ["success"]


class TestTerminal:
    def test_bars_move_on_a_terminal_and_standard_output_has_the_path_alone(self, tmp_path: Path) -> None:
        with Simulator(work=0.6) as comfyui:
            status, shown, out = in_terminal(comfyui, tmp_path, TERM="xterm-256color", COLUMNS="100")

        assert (status, out.splitlines()) == (0, [str(tmp_path / "fox.png")])
        assert "\x1b[" in shown
        assert "━" in shown
        assert re.search(r"KSampler \d/4", shown)

    @pytest.mark.parametrize("more", [{"CI": "true"}, {"TERM": "dumb"}], ids=["ci", "dumb"])
    def test_plain_lines_where_nothing_moves(self, comfyui: Simulator, tmp_path: Path, more: dict[str, str]) -> None:
        status, shown, out = in_terminal(comfyui, tmp_path, **{"TERM": "xterm", **more})

        assert (status, out.splitlines()) == (0, [str(tmp_path / "fox.png")])
        assert "\x1b" not in shown
        assert "running" in shown.splitlines()


def in_terminal(comfyui: Simulator, folder: Path, **more: str) -> tuple[int, str, str]:
    """Run ``generate`` with a terminal as its standard error; its status, what was shown, and its standard output."""
    ours, theirs = pty.openpty()
    arguments = ("generate", "a fox", *SMALL, "--server", comfyui.url, "-o", str(folder / "fox.png"))
    known = {name: value for name, value in environment().items() if name != "CI"}
    process = subprocess.Popen(
        (*COMMAND, *arguments), stdout=subprocess.PIPE, stderr=theirs, text=True, env={**known, **more}
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], PATIENCE_S)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break  # Linux: the other end is closed
        if not part:
            break
        shown += part
    out, _ = process.communicate(timeout=PATIENCE_S)
    os.close(ours)
    return process.returncode, shown.decode(errors="replace"), out


def test_reader_who_has_enough_is_no_error() -> None:
    with started("templates", "--json") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        told = process.stderr.read()

    assert (process.returncode, told) == (0, "")


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom comfybridge.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('requests', 'urllib3', 'yaml', 'rich', 'aiohttp', 'psycopg', 'comfybridge.client')"
        " if name in sys.modules])"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment(LANG="C")
    ).stdout

    assert all(re.search(rf"^    {name} ", told, re.MULTILINE) for name in COMMANDS)
    assert told.endswith("[]\n")

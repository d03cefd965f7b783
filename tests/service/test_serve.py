"""``comfybridge serve`` as a process: up with one command, whole again after each part is killed."""

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import pytest

from comfybridge.cli import main
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import eventually
from tests.service.running import MAIN, folder, has_a_server, serving


@pytest.fixture
def data() -> Iterator[Path]:
    with folder() as parent:
        yield parent / "data"


def postmaster_of(data: Path) -> int:
    """Of a PostgreSQL that is started: its process id; 0 before."""
    try:
        return int((data / "postgres" / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return 0


def test_every_part_may_be_killed(data: Path) -> None:
    with Simulator() as comfyui, serving(data, comfyui.url) as (process, server):
        children = {
            "gateway" if "gateway" in child.cmdline() else "worker": child
            for child in psutil.Process(process.pid).children()
            if "--with-parent" in child.cmdline()
        }
        assert set(children) == {"gateway", "worker"}
        # Where the database is, is not for everybody who may list processes.
        assert not any("postgresql" in word for child in children.values() for word in child.cmdline())
        assert main(["keys", "list", "--data", str(data)]) == 0
        comfyui.hold()
        running = server.submit(graphs.solid())
        eventually(lambda: server.queued()[0] == [running])
        waiting = [server.submit(graphs.solid()) for _ in range(3)]

        children["worker"].kill()
        children["gateway"].kill()
        comfyui.release()

        eventually(lambda: has_a_server(server))
        for prompt_id in (running, *waiting):
            assert server.finished(prompt_id)["status"]["status_str"] == "success"
        # The job that ran was adopted, not rendered again.
        posted = [request.body["prompt_id"] for request in comfyui.received("POST", "/prompt")]
        assert posted.count(running) == 1

        killed = postmaster_of(data)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: postmaster_of(data) not in (0, killed))
        # What the gateway holds of the database's connections is dead: whoever meets one is asked to come again.
        prompt: dict[str, Any] = {"prompt_id": str(uuid.uuid4()), "prompt": graphs.solid()}
        eventually(lambda: server.post("/prompt", json=prompt).status_code == HTTPStatus.OK)

        def entry_of(prompt_id: str) -> Any:
            answer = server.get(f"/history/{prompt_id}")
            return answer.status_code == HTTPStatus.OK and answer.json().get(prompt_id)

        assert eventually(lambda: entry_of(prompt["prompt_id"]))["status"]["status_str"] == "success"
        assert eventually(lambda: entry_of(running))["status"]["status_str"] == "success"


def test_all_of_it_is_killed_and_started_again_at_once(data: Path) -> None:
    with Simulator() as comfyui:
        comfyui.hold(queued=True)
        with serving(data, comfyui.url) as (process, server):
            waiting = [server.submit(graphs.solid()) for _ in range(3)]
            postmaster = psutil.Process(postmaster_of(data))
            parts = psutil.Process(process.pid).children(recursive=True) + postmaster.children()
            for part in (psutil.Process(process.pid), postmaster, *parts):
                with contextlib.suppress(psutil.NoSuchProcess):
                    part.kill()
        with serving(data, comfyui.url) as (_, server):
            comfyui.release()

            assert [server.finished(prompt_id)["status"]["status_str"] for prompt_id in waiting] == ["success"] * 3


def test_second_one_on_the_same_data_says_so(data: Path) -> None:
    with Simulator() as comfyui, serving(data, comfyui.url):
        command = [*MAIN, "serve", "--comfyui", comfyui.url, "--data", str(data)]

        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert second.returncode == 1
    assert "another one serves from" in second.stderr

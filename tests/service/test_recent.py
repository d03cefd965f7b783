"""What a gateway remembers of jobs that ended a moment ago: what was changed meanwhile is never told again."""

from dataclasses import replace
from pathlib import Path

from comfybridge.service.gateway.recent import Recent
from comfybridge.service.gateway.rows import Job
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import database, gateway, worker

JOB = Job(
    prompt_id="one",
    client_id="me",
    prompt={},
    extra_data={},
    targets=[],
    number=1.0,
    state="ended",
    history={},
    is_hidden=False,
    outcome="succeeded",
    progress=None,
    server=None,
    priority=1,
    template="",
    node_errors={},
)


def test_changes_are_seen_here_at_once_and_elsewhere_soon(postgres: str, tmp_path: Path) -> None:
    with (
        Simulator() as comfyui,
        database(postgres) as url,
        worker(url, tmp_path, comfyui.url),
        gateway(url, tmp_path) as here,
        gateway(url, tmp_path) as there,
    ):
        one, other = Server(here), Server(there)
        eventually(lambda: "SaveImage" in one.get("/object_info/SaveImage").json())
        with one.connect() as sock, other.connect(sock.client_id) as second:
            pictures = []
            for color in (1, 2):
                prompt_id = one.submit(graphs.solid(color=color), client_id=sock.client_id)
                for each in (sock, second):
                    each.to_the_end(prompt_id)
                (image,) = (one.history(prompt_id) or {})["outputs"]["2"]["images"]
                assert other.history(prompt_id) is not None
                pictures.append(one.get("/view", params=image).content)

            one.post("/history", json={"delete": [prompt_id]})
            assert one.history(prompt_id) is None
            eventually(lambda: other.history(prompt_id) is None)

            fields = {"type": "output", "subfolder": image["subfolder"], "overwrite": "true"}
            assert one.upload(image["filename"], pictures[0], **fields).status_code == 200
            assert one.get("/view", params=image).content == pictures[0] != pictures[1]
        one.close()
        other.close()


def test_what_was_read_before_a_change_is_not_believed() -> None:
    recent = Recent()
    recent.remember("me", JOB, [], changes=recent.changes)
    assert recent.job("me", "one") is JOB
    assert recent.job("another", "one") is None

    before = recent.changes
    recent.forget()
    recent.remember("me", JOB, [], changes=before)

    assert recent.job("me", "one") is None


def test_few_are_remembered() -> None:
    recent = Recent()
    for number in range(1000):
        recent.remember("me", replace(JOB, prompt_id=str(number)), [], changes=0)

    assert sum(recent.job("me", str(number)) is not None for number in range(1000)) == 200
    assert recent.job("me", "999") is not None

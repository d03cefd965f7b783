"""``--warm``: what a server has loaded before the first job comes."""

from pathlib import Path

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import eventually
from tests.service.fleet import fleet
from tests.service.running import worker


def test_server_is_warmed_whenever_it_comes_up(postgres: str, tmp_path: Path) -> None:
    warm = ("sdxl", "nonsense", "flux-dev")
    with (
        Simulator(models=["sdxl"]) as comfyui,
        fleet(postgres, tmp_path, []) as over,
        worker(over.url, tmp_path, comfyui.url, warm=warm),
    ):
        (reason,) = eventually(lambda: over.rows("SELECT reason FROM servers WHERE reason <> ''"))[0]

        # What cannot be warmed is said, and is no harm.
        assert "--warm nonsense: " in reason
        assert "--warm flux-dev: " in reason
        assert "--warm sdxl" not in reason
        (posted,) = comfyui.received("POST", "/prompt")
        graph = posted.body["prompt"]
        assert "SaveImage" not in {node["class_type"] for node in graph.values()}
        (sampler,) = [node for node in graph.values() if "steps" in node["inputs"]]
        assert sampler["inputs"]["steps"] == 1
        assert list((comfyui.folder / "output").rglob("*.png")) == []
        assert comfyui.history == {}
        loaded = over.row("SELECT needs::text FROM servers JOIN wants ON digest = loaded")[0]
        assert "sd_xl" in loaded
        # The same as of a job of that template, so that such a job is preferred here.
        assert "SaveImage" in loaded

        comfyui.stop()
        eventually(lambda: over.health(comfyui.url) == "gone")
        comfyui.start()
        eventually(lambda: len(comfyui.received("POST", "/prompt")) == 2)
        comfyui.wait_for("idle")


def test_waiting_jobs_go_before(postgres: str, tmp_path: Path) -> None:
    with Simulator(models=["sdxl"]) as comfyui, fleet(postgres, tmp_path, []) as over:
        with worker(over.url, tmp_path, comfyui.url):
            eventually(lambda: over.rows("SELECT 1 FROM servers WHERE health = 'well'"))
        job = over.submit(graphs.solid())

        with worker(over.url, tmp_path, comfyui.url, warm=("sdxl",)):
            eventually(
                lambda: over.rows("SELECT 1 FROM servers JOIN wants ON digest = loaded WHERE needs::text LIKE '%%xl%%'")
            )

        posted = [request.body["prompt_id"] for request in comfyui.received("POST", "/prompt")]
        assert posted[0] == job
        assert len(posted) == 2

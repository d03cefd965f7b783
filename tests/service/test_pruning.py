"""A server's own folders: what the store has goes after a while, and never anything else."""

from pathlib import Path
from typing import Any

from comfybridge.service.worker.pruning import Pruning
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.media import png
from tests.contract.server import Server, eventually
from tests.service.fleet import fleet
from tests.service.running import worker
from tests.service.test_expiry import loading


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_the_store_has_is_pruned_and_nothing_else(postgres: str, tmp_path: Path) -> None:
    home, outside = tmp_path / "comfyui", tmp_path / "outside"
    outside.mkdir()
    with Simulator(folder=home) as comfyui, fleet(postgres, tmp_path / "store", []) as over:
        # Somebody else works there as well.
        direct = Server(comfyui.url)
        (theirs,) = direct.run(graphs.solid())["outputs"]["2"]["images"]
        direct.close()
        with worker(over.url, tmp_path / "store", comfyui.url, folder=home):
            eventually(lambda: over.server.get("/object_info/SaveImage").json())
            over.server.upload("a.png", png())
            jobs = [over.submit(graphs.solid()) for _ in range(3)]
            jobs.append(over.submit(loading("a.png")))
            assert [over.outcome(job) for job in jobs] == ["succeeded"] * 4
        pictures = {job: over.server.finished(job)["outputs"]["2"]["images"][0] for job in jobs}
        noted = over.rows("SELECT type, subfolder, filename FROM leftovers WHERE type = 'output' ORDER BY filename")
        first, second, *_ = [home / folder / subfolder / filename for folder, subfolder, filename in noted]
        # Of the noted ones one has other bytes by now, and one is a link to a file outside.
        first.write_bytes(b"rewritten")
        target = outside / second.name
        second.rename(target)
        second.symlink_to(target)

        with worker(over.url, tmp_path / "store", comfyui.url, folder=home, prune_after_s=0.0, sweep_s=0.1):
            eventually(lambda: not over.rows("SELECT 1 FROM leftovers"))

        assert files(home) >= {f"output/{theirs['filename']}", str(first.relative_to(home))}
        assert second.is_symlink()
        assert target.exists()
        assert not [name for name in files(home / "input") if "comfybridge" in name]
        assert len(files(home / "output")) == 3
        for picture in pictures.values():
            assert over.server.get("/view", params=picture).status_code == 200


def test_repeated_prompt_whose_file_was_pruned_is_made_again(postgres: str, tmp_path: Path) -> None:
    home = tmp_path / "comfyui"
    settings: dict[str, Any] = {"folder": home, "prune_after_s": 0.0, "sweep_s": 0.1}
    with Simulator(folder=home) as comfyui, fleet(postgres, tmp_path / "store", [comfyui.url], **settings) as over:
        prompt = graphs.solid()
        for _ in range(2):
            job = over.submit(prompt)
            (image,) = over.server.finished(job)["outputs"]["2"]["images"]
            assert over.server.get("/view", params=image).content.startswith(b"\x89PNG")
            eventually(lambda: not over.rows("SELECT 1 FROM leftovers"))
            assert files(home / "output") == set()


def test_open_job_keeps_what_it_may_need(postgres: str, tmp_path: Path) -> None:
    home = tmp_path / "comfyui"
    with Simulator(folder=home) as comfyui, fleet(postgres, tmp_path / "store", [comfyui.url], folder=home) as over:
        over.server.upload("a.png", png())
        comfyui.hold()
        job = over.submit(loading("a.png"))
        comfyui.wait_for("running")
        eventually(lambda: over.rows("SELECT 1 FROM leftovers WHERE type = 'input'"))
        pruning = Pruning(comfyui.url, home, 0.0)
        assert pruning.prune(over.connection) == 0
        comfyui.release()

        assert over.outcome(job) == "succeeded"
        assert pruning.prune(over.connection) == 2
        assert files(home) == set()

"""What ComfyUI's own front end asks for, in the version of the servers and in later ones."""

from pathlib import Path

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import service


def test_front_end_starts_and_keeps_its_settings(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)

        assert server.get("/api/users").json() == {"storage": "server", "migrated": True}
        for path in ("/api/i18n", "/api/global_subgraphs", "/api/workflow_templates", "/internal/folder_paths"):
            assert server.get(path).json() == {}
        assert server.get("/internal/logs/raw").json()["entries"] == []
        folders = [folder["name"] for folder in server.get("/api/experiment/models").json()]
        assert "checkpoints" in folders
        models = server.get("/api/experiment/models/checkpoints").json()
        assert [model["name"] for model in models] == server.get("/models/checkpoints").json()
        assert server.get("/api/experiment/models/nowhere").status_code == 404
        assert server.get("/internal/files/elsewhere").status_code == 400

        assert server.get("/api/settings").json() == {}
        assert server.post("/api/settings/Comfy.Tutorial", json=True).status_code == 200
        assert server.post("/api/settings", json={"Comfy.Locale": "zh", "a": [1]}).status_code == 200
        assert server.post("/api/settings/a", data=b"null").status_code == 200
        assert server.get("/api/settings").json() == {"Comfy.Tutorial": True, "Comfy.Locale": "zh", "a": None}
        assert server.get("/api/settings/Comfy.Locale").json() == "zh"
        assert server.get("/api/settings/unknown").json() is None
        for wrong in ({"data": b"x"}, {"json": [1]}, {"json": {"a\0": 1}}):
            assert server.post("/api/settings", **wrong).status_code == 400
        server.close()


def test_later_front_end_finds_interrupted_jobs_as_cancelled(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        done = server.submit(graphs.solid())
        server.finished(done)
        comfyui.hold()
        stopped = server.submit(graphs.solid())
        eventually(lambda: server.queued()[0] == [stopped])
        server.post("/interrupt")
        server.finished(stopped)

        def statuses(query: str) -> dict[str, str]:
            return {job["id"]: job["status"] for job in server.get(f"/api/jobs{query}").json()["jobs"]}

        assert statuses("?status=completed,failed,cancelled") == {done: "completed", stopped: "cancelled"}
        assert statuses("?status=cancelled") == {stopped: "cancelled"}
        assert statuses("?status=failed") == statuses("?status=failed,pending") == {stopped: "failed"}
        assert statuses("") == {done: "completed", stopped: "failed"}
        server.close()

"""The callers' files reach whichever server runs the job, by every input that takes one."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from comfybridge.graph import InputRef
from comfybridge.service.catalogue import possible_files, upload_inputs, with_uploads, without_uploads
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.service.running import service

LATENT = {"input": {"required": {"latent": [["a.latent"]]}}}
NOTE = {"input": {"required": {"file": ["COMBO", {"options": ["note.txt"]}], "mode": ["COMBO", {"options": ["x"]}]}}}
OUTPUTS = {"input": {"required": {"image": ["COMBO", {"image_upload": True, "remote": {"route": "/internal"}}]}}}


MESH = b"glTF\2\0\0\0\x0c\0\0\0"
FILM = b"\0\0\0\x20ftypisom" + bytes(9)


def picture(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(stream, "PNG")
    return stream.getvalue()


def test_lists_of_the_input_folder_become_the_callers() -> None:
    classes = without_uploads({"Latent": LATENT, "Note": NOTE, "Outputs": OUTPUTS}, ["a.latent", "note.txt", "b.png"])

    assert classes["Latent"]["input"]["required"]["latent"][0] == []
    assert classes["Note"]["input"]["required"]["mode"] == ["COMBO", {"options": ["x"]}]
    assert classes["Outputs"] == OUTPUTS
    prompt = {"1": {"class_type": "Note", "inputs": {"file": "mine.txt", "mode": "x"}}}
    assert upload_inputs(prompt, classes) == {InputRef("1", "file"): "mine.txt"}
    assert with_uploads(classes["Note"], {"text": ["mine.txt"]})["input"]["required"]["file"][1]["options"] == [
        "mine.txt"
    ]


def test_files_in_values_that_nothing_declares_are_found() -> None:
    inputs: dict[str, Any] = {"text": ["STRING", {}], "view": ["LOAD_3D", {}], "image": ["WEBCAM", {}]}
    classes = {"Any": {"input": {"required": inputs}}}
    scene = {"image": "3d/a.png [temp]", "mask": "", "camera": {"x": 1}}
    values = {"text": "no file [input]", "view": scene, "image": "webcam/1.png [temp]"}

    found = list(possible_files({"1": {"class_type": "Any", "inputs": values}}, classes))

    assert found == [
        (InputRef("1", "view"), "image", "3d/a.png [temp]"),
        (InputRef("1", "image"), "", "webcam/1.png [temp]"),
    ]


def test_output_of_one_server_is_loaded_on_another(postgres: str, tmp_path: Path) -> None:
    with Simulator() as one, Simulator() as other, service(postgres, tmp_path, [one.url, other.url]) as url:
        server = Server(url)
        (image,) = server.run(graphs.solid(color=0x123456))["outputs"]["2"]["images"]
        assert server.get("/internal/files/output").json() == [image["filename"]]
        loaded = {"class_type": "LoadImageOutput", "inputs": {"image": f"{image['filename']} [output]"}}
        for comfyui in (one, other):
            comfyui.hold()
        jobs = []
        for _ in range(2):
            jobs.append(server.submit({"1": loaded, "2": graphs.save("1")}))
            eventually(lambda: server.queued()[0] == jobs)
        for comfyui in (one, other):
            comfyui.release()

        for prompt_id in jobs:
            (again,) = server.finished(prompt_id)["outputs"]["2"]["images"]
            pixel = Image.open(io.BytesIO(server.get("/view", params=again).content)).convert("RGB").getpixel((0, 0))
            assert pixel == (0x12, 0x34, 0x56)
        assert all(comfyui.received("POST", "/upload/image") for comfyui in (one, other))
        server.close()


def test_views_of_a_scene_reach_the_server(postgres: str, tmp_path: Path) -> None:
    with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        views = {name: picture((number, 0, 0)) for number, name in enumerate(("image", "mask", "normal"))}
        for name, content in views.items():
            server.upload(f"{name}.png", content, type="temp", subfolder="threed")
        server.upload("mesh.glb", MESH, subfolder="3d")
        scene = {name: f"threed/{name}.png [temp]" for name in views}
        scene["recording"] = server.upload("recording.mp4", FILM).json()["name"]
        inputs = {
            "model_file": "3d/mesh.glb",
            "image": {**scene, "camera_info": {"zoom": 1, "type": "no.file"}},
            "width": 8,
            "height": 8,
        }

        server.run({"1": {"class_type": "Load3D", "inputs": inputs}, "2": graphs.save("1")})

        uploaded = [request.body["image"]["content"] for request in comfyui.received("POST", "/upload/image")]
        assert set(uploaded) == {*views.values(), FILM, MESH}
        ran = comfyui.received("POST", "/prompt")[0].body["prompt"]["1"]["inputs"]
        assert ran["model_file"].endswith(".glb")
        assert ran["image"]["camera_info"] == {"zoom": 1, "type": "no.file"}
        assert ran["image"]["recording"].endswith(".mp4")
        names = [ran["image"][name] for name in views]
        assert len({*names, ran["image"]["recording"]}) == 4
        assert not any("[" in name for name in names)
        server.close()

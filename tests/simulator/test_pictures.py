"""What a graph with a model comes to: test cards that follow the graph."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server


@pytest.fixture
def server(comfyui: Simulator) -> Iterator[Server]:
    server = Server(comfyui.url)
    yield server
    server.close()


def txt2img(text: str = "a fox", **sampler: Any) -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": text}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 320, "height": 192, "batch_size": 2}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["3", 0],
                "seed": 1,
                "steps": 3,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                **sampler,
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": graphs.save("5"),
    }


def pictures(server: Server, prompt: dict[str, Any]) -> list[Image.Image]:
    entry = server.run(prompt, client_id="me")
    named = entry["outputs"]["6"]["images"]
    return [Image.open(io.BytesIO(server.get("/view", params=image).content)) for image in named]


def test_batch_is_that_many_different_pictures_of_the_size_asked_for(server: Server) -> None:
    first, second = pictures(server, txt2img())

    assert (first.size, second.size) == ((320, 192), (320, 192))
    assert first.tobytes() != second.tobytes()


def test_seed_and_prompt_decide_the_picture(server: Server) -> None:
    same = [pictures(server, txt2img(seed=7))[0].tobytes() for _ in range(2)]
    other_seed = pictures(server, txt2img(seed=8))[0].tobytes()
    other_text = pictures(server, txt2img("a hare", seed=7))[0].tobytes()

    assert same[0] == same[1]
    assert len({same[0], other_seed, other_text}) == 3


def test_sampler_tells_its_steps(server: Server) -> None:
    with server.connect() as socket:
        prompt_id = server.submit(txt2img(steps=4), client_id=socket.client_id)
        frames = socket.to_the_end(prompt_id)

    steps = [frame["data"] for frame in frames if frame["type"] == "progress"]
    assert [(step["value"], step["max"]) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_image_to_image_keeps_the_size_of_the_upload(server: Server) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (250, 131), (200, 0, 0)).save(buffer, "PNG")
    server.upload("photo.png", buffer.getvalue())
    prompt = txt2img(denoise=0.4)
    prompt["7"] = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
    prompt["3"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["7", 0], "vae": ["1", 2]}}

    (picture,) = pictures(server, prompt)

    assert picture.size == (248, 128)


def test_text_and_numbers_may_come_through_links(server: Server) -> None:
    linked = txt2img()
    linked["8"] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a fox"}}
    linked["9"] = {"class_type": "PrimitiveInt", "inputs": {"value": 1}}
    linked["2"]["inputs"]["text"] = ["8", 0]
    linked["4"]["inputs"]["seed"] = ["9", 0]

    assert pictures(server, linked)[0].tobytes() == pictures(server, txt2img("a fox", seed=1))[0].tobytes()


def test_custom_sampler_and_loras_are_followed(server: Server) -> None:
    prompt = txt2img()
    sampler = {
        "noise": ["10", 0],
        "guider": ["11", 0],
        "sampler": ["12", 0],
        "sigmas": ["13", 0],
        "latent_image": ["14", 0],
    }
    lora = {"model": ["1", 0], "lora_name": "film_grain.safetensors", "strength_model": 1.0}
    schedule = {"model": ["15", 0], "scheduler": "simple", "steps": 5, "denoise": 1.0}
    prompt["4"] = {"class_type": "SamplerCustomAdvanced", "inputs": sampler}
    prompt["10"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 9}}
    prompt["11"] = {"class_type": "BasicGuider", "inputs": {"model": ["15", 0], "conditioning": ["2", 0]}}
    prompt["12"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    prompt["13"] = {"class_type": "BasicScheduler", "inputs": schedule}
    prompt["14"] = {"class_type": "EmptySD3LatentImage", "inputs": {"width": 260, "height": 200, "batch_size": 1}}
    prompt["15"] = {"class_type": "LoraLoaderModelOnly", "inputs": lora}
    with server.connect() as socket:
        prompt_id = server.submit(prompt, client_id=socket.client_id)
        frames = socket.to_the_end(prompt_id)

    assert [frame["data"]["max"] for frame in frames if frame["type"] == "progress"] == [5] * 5
    image = server.finished(prompt_id)["outputs"]["6"]["images"][0]
    with Image.open(io.BytesIO(server.get("/view", params=image).content)) as picture:
        assert picture.size == (256, 200)

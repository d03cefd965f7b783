"""OpenAI's own client against the gateway: pictures, edits, models, errors; and what else may happen to a request."""

import base64
import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from openai import OpenAI
from PIL import Image

from comfybridge.service.gateway.state import Options
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure
from tests.contract import graphs
from tests.contract.server import DEADLINE_S, Server, eventually
from tests.service.running import database, gateway, service, worker

MODELS = [
    "sd15", "sd15-clip-skip", "sd15-hires", "sd15-image2image", "sd15-inpaint", "sd15-inpaint-alpha", "upscale-resize",
    "resize-crop",
]  # fmt: skip
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def comfyui() -> Iterator[Simulator]:
    with Simulator(models="sd15") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def url(postgres: str, comfyui: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(postgres, tmp_path_factory.mktemp("store"), [comfyui.url]) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
def server(url: str) -> Iterator[Server]:
    server = Server(url)
    yield server
    server.close()


def opened(answer: Any, number: int = 0) -> "Image.Image":
    return Image.open(io.BytesIO(base64.b64decode(answer.data[number].b64_json)))


def picture(mode: str, color: Any, hole: tuple[int, int, int, int] | None = None) -> bytes:
    image = Image.new(mode, (640, 480), color)
    if hole is not None:
        image.paste((0, 0, 0, 0), hole)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_models_are_the_templates_that_the_fleet_can_run(client: OpenAI) -> None:
    listed = client.models.list().data

    assert [model.id for model in listed] == MODELS
    assert client.models.retrieve("sd15") == client.models.retrieve("sd15@1") == listed[0]
    with pytest.raises(openai.NotFoundError, match=r"flux1-dev-fp8.safetensors into models/checkpoints"):
        client.models.retrieve("flux-dev")


def test_picture_has_the_asked_size_and_the_job_tells_whose_it_is(client: OpenAI, comfyui: Simulator) -> None:
    made = client.images.generate(prompt='a "café" at night ☕', size="768x512", user="u-17", extra_body={"seed": 5})

    image = opened(made)
    assert (image.format, image.size) == ("PNG", (768, 512))
    sent: Any = comfyui.received("POST", "/prompt")[-1].body
    assert 'a "café" at night ☕' in [node["inputs"].get("text") for node in sent["prompt"].values()]
    assert sent["extra_data"]["comfybridge"] == {"template": "sd15@1", "runs": 1, "user": "u-17"}
    assert made.model_extra is not None
    assert (made.model_extra["model"], made.model_extra["seed"]) == ("sd15@1", 5)


def test_models_own_size_and_another_format(client: OpenAI) -> None:
    made = client.images.generate(prompt="a lake", model="sd15", output_format="webp", output_compression=40)

    image = opened(made)
    assert (image.format, image.size) == ("WEBP", (512, 512))


def test_links_open_without_a_key_and_only_what_they_name(client: OpenAI) -> None:
    made = client.images.generate(prompt="a lake", model="dall-e-3", output_format="jpeg", n=3)

    links = [each.url or "" for each in made.data or ()]
    answers = [requests.get(link, timeout=DEADLINE_S) for link in links]
    assert [Image.open(io.BytesIO(answer.content)).format for answer in answers] == ["JPEG"] * 3
    assert len({answer.content for answer in answers}) == 3
    other = links[0].replace("_00001_", "_00002_")
    assert requests.get(other, timeout=DEADLINE_S).status_code == 403


def test_stream_ends_with_the_picture_or_the_reason(client: OpenAI, comfyui: Simulator) -> None:
    with client.images.generate(prompt="a lake", stream=True, partial_images=2, size="256x256") as stream:
        (event,) = stream
    assert event.type == "image_generation.completed"
    image = Image.open(io.BytesIO(base64.b64decode(event.b64_json)))
    assert (image.size, event.size) == ((256, 256), "256x256")

    comfyui.inject(NodeFailure("KSampler", message="no such sigma"), times=1)
    with (
        client.images.edit(image=picture("RGB", RED), prompt="a boat", stream=True) as stream,
        pytest.raises(openai.APIError, match="no such sigma"),
    ):
        list(stream)


def test_mask_is_drawn_anew_where_it_is_transparent(client: OpenAI) -> None:
    mask = picture("RGBA", (255, 255, 255, 255), (100, 100, 300, 300))

    for model in ("gpt-image-1", "sd15-inpaint-alpha"):
        made = client.images.edit(image=picture("RGB", RED), mask=mask, prompt="a boat", model=model)

        image = opened(made).convert("RGB")
        assert image.size == (640, 480)
        assert image.getpixel((500, 400)) == RED
        assert image.getpixel((200, 200)) != RED


def test_pictures_own_transparency_is_the_mask_for_dall_e_2(client: OpenAI) -> None:
    made = client.images.edit(
        image=picture("RGBA", RED, (0, 0, 200, 480)), prompt="a boat", model="dall-e-2", response_format="b64_json"
    )

    image = opened(made).convert("RGB")
    assert image.getpixel((600, 100)) == RED
    assert image.getpixel((50, 100)) != RED


def test_edits_without_a_batch_are_several_jobs_with_other_seeds(client: OpenAI) -> None:
    made = client.images.edit(image=[picture("RGB", RED)], prompt="a boat", n=2, size="512x512")

    assert [opened(made, number).size for number in (0, 1)] == [(512, 512)] * 2
    assert made.model_extra is not None
    assert len(set(made.model_extra["prompt_ids"])) == 2
    assert opened(made, 0).tobytes() != opened(made, 1).tobytes()


@pytest.mark.parametrize(
    ("asked", "param", "told"),
    [
        ({"prompt": " "}, "prompt", "prompt is empty"),
        ({"prompt": "bell \x07"}, "prompt", "control character"),
        ({"size": "32x32"}, "size", "from 64x64 to 4096x4096"),
        ({"size": "large"}, "size", "such as 1024x1024"),
        ({"n": 11}, "n", "from 1 to 10"),
        ({"background": "transparent"}, "background", "auto, opaque"),
        ({"output_format": "svg"}, "output_format", "png, jpeg, webp"),
        ({"response_format": "file"}, "response_format", "b64_json, url"),
        ({"model": "sd15-image2image"}, "model", "/v1/images/edits"),
        ({"extra_body": {"seed": "x"}}, "seed", "seed must be a number from"),
        ({"extra_body": {"loras": "nowhere"}}, None, "nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_told(client: OpenAI, asked: dict[str, Any], param: str | None, told: str) -> None:
    with pytest.raises(openai.BadRequestError, match=told) as caught:
        client.images.generate(**{"prompt": "a lake", **asked})

    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)


def test_unknown_model_is_no_other_one(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Models: sd15, ") as caught:
        client.images.generate(prompt="a lake", model="midjourney")

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"image": b"no picture"}, "image must be a PNG, JPEG or WebP picture"),
        ({"image": picture("RGB", RED), "mask": picture("RGB", RED)}, "mask marks nothing"),
        ({"image": [picture("RGB", RED)] * 2, "model": "sd15-image2image"}, "loads 1 picture, more were given"),
    ],
    ids=["no-picture", "no-transparency", "too-many"],
)
def test_edit_that_cannot_be_is_told(client: OpenAI, files: dict[str, Any], told: str) -> None:
    with pytest.raises(openai.BadRequestError, match=told):
        client.images.edit(prompt="a boat", **files)


def test_every_error_has_openais_shape(server: Server) -> None:
    for answer, status in (
        (server.get("/v1/chat"), 404),
        (server.request("DELETE", "/v1/models"), 405),
        (server.post("/v1/images/generations", data=b"{"), 400),
        (server.post("/v1/images/generations", json=[]), 400),
        (server.post("/v1/images/edits", data={"prompt": "a boat"}), 400),
    ):
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    chinese = server.post("/v1/images/generations", json={}, headers={"Accept-Language": "zh-CN,zh"})
    assert chinese.json()["error"]["message"] == "prompt 为空：请描述画面内容。"


def test_key_of_a_repeated_request_is_one_job(client: OpenAI, server: Server, comfyui: Simulator) -> None:
    key = {"Idempotency-Key": "order-7"}
    comfyui.hold()
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(client.images.generate, prompt="a lake", extra_headers=key) for _ in range(2)]
        eventually(lambda: server.queued()[0])
        comfyui.release()
        first, second = (call.result() for call in calls)

    again = client.images.generate(prompt="a lake", extra_headers=key)
    assert first.data == second.data == again.data
    with pytest.raises(openai.BadRequestError, match="used before with other parameters"):
        client.images.generate(prompt="a sea", extra_headers=key)


def test_failed_node_is_told_and_not_tried_again_by_the_client(client: OpenAI, comfyui: Simulator) -> None:
    before = comfyui.count("POST", "/prompt")
    comfyui.inject(NodeFailure("KSampler", message="no such sigma"), times=1)

    with pytest.raises(openai.InternalServerError, match=r"Node 3 .* failed: no such sigma") as caught:
        client.images.generate(prompt="a lake")

    assert (caught.value.type, caught.value.code) == ("server_error", "failed")
    assert comfyui.count("POST", "/prompt") == before + 1


def test_job_goes_on_when_the_time_is_over(client: OpenAI, server: Server, comfyui: Simulator) -> None:
    comfyui.hold()
    with pytest.raises(openai.InternalServerError, match="It goes on") as caught:
        client.images.generate(prompt="a lake", extra_body={"timeout": 4})
    assert caught.value.status_code == 504
    (prompt_id,) = eventually(lambda: server.queued()[0])
    assert f"prompt_id {prompt_id}" in str(caught.value)
    assert server.get(f"/comfybridge/images/{prompt_id}").json()["status"] == "running"

    comfyui.release()
    eventually(lambda: server.history(prompt_id))
    result = server.get(f"/comfybridge/images/{prompt_id}").json()
    assert result["status"] == "succeeded"
    assert requests.get(result["images"][0], timeout=DEADLINE_S).content.startswith(b"\x89PNG")


def test_waiting_job_of_a_client_that_is_gone_is_taken_back(server: Server, comfyui: Simulator) -> None:
    comfyui.hold()
    first = server.submit(graphs.solid())
    eventually(lambda: server.queued()[0] == [first])
    body = json.dumps({"prompt": "a lake"})
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=DEADLINE_S) as connection:
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        eventually(lambda: server.queued()[1])

    eventually(lambda: not server.queued()[1])
    comfyui.release()
    server.finished(first)


def test_keys_open_what_they_may(postgres: str, comfyui: Simulator, tmp_path: Path) -> None:
    with service(postgres, tmp_path, [comfyui.url]) as url:
        server = Server(url)
        key = server.post("/comfybridge/keys", json={"name": "shop", "templates": ["sd15"], "rate": 2}).json()["key"]
        with OpenAI(base_url=f"{url}/v1", api_key="another", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError, match="not known") as refused:
                stranger.models.list()
            assert refused.value.code == "invalid_api_key"
        with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["sd15"]
            with pytest.raises(openai.NotFoundError):
                client.images.generate(prompt="a lake", model="sd15-hires")
            made = client.images.generate(prompt="a lake", size="768x768", response_format="url")
            assert made.data is not None
            assert requests.get(made.data[0].url or "", timeout=DEADLINE_S).content.startswith(b"\x89PNG")
            with pytest.raises(openai.RateLimitError, match="2 prompts a minute") as late:
                client.images.generate(prompt="a lake")
            assert late.value.response.headers["Retry-After"] == "30"

        proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pictures.example.com"}
        document = server.get("/openapi.json", params={"token": key}, headers=proxied).json()
        assert document["servers"] == [{"url": "https://pictures.example.com"}]
        server.close()


def test_versions_in_the_folder_are_models(postgres: str, comfyui: Simulator, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    for version in (1, 2):
        (folder / f"poster@{version}.json").write_text(json.dumps(graphs.solid(f"v{version}")), encoding="utf-8")
    (folder / "rollout.yaml").write_text('poster: {stable: "1"}', encoding="utf-8")
    with (
        database(postgres) as url,
        worker(url, tmp_path / "store", comfyui.url),
        gateway(url, tmp_path / "store", Options(templates=folder)) as address,
        OpenAI(base_url=f"{address}/v1", api_key="none", timeout=DEADLINE_S) as client,
    ):
        listed = eventually(lambda: [model.id for model in client.models.list() if model.id.startswith("poster")])
        assert listed == ["poster"]
        for model, drawn in (("poster", "poster@1"), ("poster@2", "poster@2")):
            made = client.images.generate(prompt="a lake", model=model)
            assert made.model_extra is not None
            assert made.model_extra["model"] == drawn

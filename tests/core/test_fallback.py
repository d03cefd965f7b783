"""Pictures from an Images API, over real sockets."""

import base64
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from comfybridge import connections, fallback, generation
from comfybridge.credentials import Fallback
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, InvalidInput, Lost, NoServer, Rejected, Unavailable
from comfybridge.fallback import Drawn, Picture
from comfybridge.filling import Inputs
from comfybridge.idempotency import Key
from comfybridge.library import Named
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import DropConnection, NodeFailure, Respond
from tests.core.images_service import KEY, ImagesService, images_service, png
from tests.core.making import Connect

CAUSE = NoServer(
    "ComfyUI at http://gpu:8188 refuses the connection.",
    "ComfyUI（http://gpu:8188）拒绝连接。",
    server="http://gpu:8188",
)


@pytest.fixture
def service() -> Iterator[ImagesService]:
    with images_service() as service:
        yield service


def credentials(service: ImagesService, *, model: str = "gpt-image-1", sizes: Any = None) -> Fallback:
    return Fallback(url=service.url, api_key=KEY, model=model, sizes=sizes)


def draw(
    service: ImagesService,
    *,
    model: str = "m",
    sizes: Any = None,
    timeout_s: float = 20,
    most: int | None = None,
    **inputs: Any,
) -> list[Picture | Drawn]:
    wished = Inputs(**{"positive": "a fox", **inputs})
    by = credentials(service, model=model, sizes=sizes)
    return list(fallback.draw(by, wished, Deadline(timeout_s), most_pixels=most, cause=CAUSE))


def fails(service: ImagesService, **wishes: Any) -> NoServer:
    with pytest.raises(NoServer) as raised:
        draw(service, **wishes)
    error = raised.value
    assert str(error).startswith("ComfyUI at http://gpu:8188 refuses the connection. The fallback m at 127.0.0.1:")
    assert error.zh.startswith("ComfyUI（http://gpu:8188）拒绝连接。备用服务 m（127.0.0.1:")
    assert KEY not in f"{error}{error.zh}"
    return error


class TestPictures:
    @pytest.mark.parametrize("gives_urls", [False, True], ids=["b64_json", "url"])
    def test_pictures_come_in_either_form(self, service: ImagesService, *, gives_urls: bool) -> None:
        service.gives_urls = gives_urls

        *pictures, drawn = draw(service, count=2)

        assert [picture for picture in pictures if isinstance(picture, Picture)] == [
            Picture("picture-1.png", "image/png", png()),
            Picture("picture-2.png", "image/png", png()),
        ]
        assert isinstance(drawn, Drawn)
        assert drawn.model == "m"

    def test_data_url_in_lines_is_read(self, service: ImagesService) -> None:
        encoded = base64.encodebytes(png()).decode()
        service.says(201, {"data": [{"b64_json": f"data:image/png;base64,{encoded}"}]})

        assert draw(service)[0] == Picture("picture-1.png", "image/png", png())

    def test_prompt_is_sent_as_it_is_and_the_key_as_a_header(self, service: ImagesService) -> None:
        draw(service, positive=' 一只"猫" \n🦊 ')

        assert service.asked == [
            {
                "path": "/v1/images/generations",
                "model": "m",
                "prompt": ' 一只"猫" \n🦊 ',
                "n": 1,
                "size": "1024x1024",
                "response_format": "b64_json",
            }
        ]
        assert service.headers[0]["Authorization"] == f"Bearer {KEY}"

    def test_model_that_takes_no_response_format_is_not_sent_one(self, service: ImagesService) -> None:
        draw(service, model="gpt-image-1")

        assert "response_format" not in service.asked[0]

    def test_service_that_refuses_the_format_is_asked_without(self, service: ImagesService) -> None:
        def picky(body: Any) -> tuple[int, bytes]:
            if "response_format" in body:
                return 400, b'{"error": {"message": "Unknown parameter: \'response_format\'."}}'
            return service.pictures(body)

        service.answer = picky

        assert len(draw(service)) == 2
        assert ["response_format" in asked for asked in service.asked] == [True, False]

    def test_answer_that_takes_longer_than_a_server_may_be_silent(
        self, service: ImagesService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "READ_S", 0.05)
        monkeypatch.setattr(connections._Response, "read_s", 0.05)

        def slowly(body: Any) -> tuple[int, bytes]:
            service.released.wait(0.5)
            return service.pictures(body)

        service.answer = slowly

        assert len(draw(service)) == 2


class TestSize:
    @pytest.mark.parametrize(
        ("model", "sizes", "inputs", "size"),
        [
            ("gpt-image-1", None, {"aspect": (1, 1)}, (1024, 1024)),
            ("gpt-image-1", None, {"aspect": (16, 9)}, (1536, 1024)),
            ("gpt-image-1", None, {"aspect": (9, 16)}, (1024, 1536)),
            ("gpt-image-1", None, {"width": 1920, "height": 1080}, (1536, 1024)),
            ("gpt-image-1", None, {}, (1024, 1024)),
            ("dall-e-3", None, {"aspect": (21, 9)}, (1792, 1024)),
            ("dall-e-2", None, {"aspect": (16, 9)}, (1024, 1024)),
            ("dall-e-2", None, {"width": 300, "height": 300}, (256, 256)),
            ("flux", ((512, 512), (800, 600)), {"aspect": (4, 3)}, (800, 600)),
            ("flux", (), {"aspect": (4, 3)}, None),
        ],
    )
    def test_nearest_size_is_asked_for(
        self, model: str, sizes: Any, inputs: dict[str, Any], size: tuple[int, int] | None
    ) -> None:
        by = Fallback(url="http://a/v1", api_key=None, model=model, sizes=sizes)

        assert fallback.size(by, Inputs(**inputs), None) == size

    def test_no_size_is_sent_where_none_is_wanted(self, service: ImagesService) -> None:
        draw(service, sizes=())

        assert "size" not in service.asked[0]

    def test_operators_limit_holds_here_too(self, service: ImagesService) -> None:
        draw(service, sizes=((1024, 1024), (512, 512)), most=600_000, count=2)
        error = fails(service, sizes=((1024, 1024), (512, 512)), most=600_000, count=3)

        assert [asked["size"] for asked in service.asked] == ["512x512"]
        assert "no size within max_pixels" in str(error)


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "hint"),
        [
            (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "(HTTP 401): check fallback_api_key"),
            (403, b"", "(HTTP 403): check fallback_api_key"),
            (404, b"<h1>Not Found</h1>", "(HTTP 404): check fallback_model"),
            (429, {"error": {"message": "Rate limit"}}, "is asked too often, or its credit is used up (HTTP 429)"),
            (500, b"oops", "answered with HTTP 500"),
            (302, b"", "answered with HTTP 302"),
            (400, {"error": {"message": f"Not\n allowed {KEY}."}}, "refused the request: Not allowed …."),
            (400, b"garbage", "answered with HTTP 400"),
            (200, b"<html>hi</html>", "gave an answer without pictures"),
            (200, {"data": []}, "gave an answer without pictures"),
            (200, {"data": "x"}, "gave an answer without pictures"),
            (200, {"data": [{"b64_json": "%%%"}]}, "gave a picture that cannot be decoded"),
            (200, {"data": [{"b64_json": "aGk="}]}, "gave something that is no whole picture"),
            (200, {"data": [{}]}, "gave the address of a picture that cannot be fetched"),
            (200, {"data": [{"url": "http://127.0.0.1:1/x.png"}]}, "gave the address of a picture"),
        ],
    )
    def test_refusal_is_one_sentence_after_comfyuis(
        self, service: ImagesService, status: int, body: Any, hint: str
    ) -> None:
        service.says(status, body)

        error = fails(service)

        assert hint in str(error)
        assert "\n" not in str(error)
        assert "<h" not in str(error)
        assert len(service.asked) == 1

    def test_service_that_does_not_answer_in_time(self, service: ImagesService) -> None:
        service.is_silent()

        assert "did not answer in time" in str(fails(service, timeout_s=1))

    def test_service_that_is_down(self) -> None:
        with images_service() as service:
            pass

        assert "cannot be reached: check fallback_url" in str(fails(service))


class TestWhenItIsAsked:
    def generate(self, client: Any, service: ImagesService, *, key: Key | None = None, **inputs: Any) -> list[Any]:
        wished = Inputs(**{"positive": "a fox", "width": 64, "height": 64, "steps": 2, **inputs})
        deadline = Deadline(15)
        clients = client if isinstance(client, list) else [client]
        steps = generation.generate(
            Named("sd15"),
            wished,
            Pool(clients),
            deadline=deadline,
            extra_data={},
            key=key,
            instead=lambda cause: fallback.draw(credentials(service), wished, deadline, most_pixels=None, cause=cause),
        )
        return [step for step in steps if isinstance(step, Picture | Drawn)]

    @pytest.fixture
    def down(self) -> str:
        with images_service() as gone:
            return gone.url.removesuffix("/v1")

    def test_server_that_is_down(self, service: ImagesService, connect: Connect, down: str) -> None:
        assert len(self.generate(connect(down), service)) == 2

    def test_all_servers_down(self, service: ImagesService, connect: Connect, down: str) -> None:
        assert len(self.generate([connect(down), connect(f"{down}/other")], service)) == 2

    @pytest.mark.parametrize("servers", [1, 2])
    def test_not_for_a_call_that_may_be_a_repeated_one(
        self, servers: int, service: ImagesService, connect: Connect, comfyui: Simulator, down: str
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=401))
        asked = [connect(comfyui.url)] if servers == 1 else [connect(down), connect(f"{down}/other")]

        with pytest.raises(NoServer):
            self.generate(asked, service, key=Key("k", "w"))
        assert service.asked == []

    def test_server_that_lets_nobody_in(self, service: ImagesService, connect: Connect, comfyui: Simulator) -> None:
        comfyui.inject(Respond(status=401), times=None)

        assert len(self.generate(connect(comfyui.url), service)) == 2

    def test_not_while_a_server_is_there(self, service: ImagesService, connect: Connect, comfyui: Simulator) -> None:
        assert self.generate(connect(comfyui.url), service) == []
        assert service.asked == []

    def test_not_where_another_server_took_the_job(
        self, service: ImagesService, connect: Connect, comfyui: Simulator, down: str
    ) -> None:
        assert self.generate([connect(down), connect(comfyui.url)], service) == []
        assert service.asked == []

    @pytest.mark.parametrize(
        ("fault", "inputs", "kind"),
        [
            (NodeFailure(node="KSampler"), {}, ComfyError),
            (None, {"model": "no-such-model"}, InvalidInput),
            (
                Respond(path="/prompt", method="POST", status=400, body=b'{"error": {}, "node_errors": {}}'),
                {},
                Rejected,
            ),
            (Respond(path="/view", status=502), {}, Unavailable),
        ],
        ids=["node failure", "invalid", "rejected", "accepted, then away"],
    )
    def test_not_for_a_job_that_a_server_had_or_refused(
        self,
        service: ImagesService,
        connect: Connect,
        comfyui: Simulator,
        fault: Any,
        inputs: dict[str, Any],
        kind: type[ComfyError],
    ) -> None:
        if fault is not None:
            comfyui.inject(fault, times=None)

        with pytest.raises(kind) as raised:
            self.generate(connect(comfyui.url), service, **inputs)

        assert not isinstance(raised.value, NoServer)
        assert service.asked == []

    def test_not_where_one_server_is_down_and_the_other_refuses(
        self, service: ImagesService, connect: Connect, comfyui: Simulator, down: str
    ) -> None:
        with pytest.raises(ComfyError) as raised:
            self.generate([connect(down), connect(comfyui.url)], service, model="no-such-model")

        assert not isinstance(raised.value, NoServer)
        assert service.asked == []

    def test_not_where_it_is_unknown_whether_the_job_runs(
        self, service: ImagesService, connect: Connect, comfyui: Simulator
    ) -> None:
        comfyui.inject(DropConnection(path="/prompt", method="POST", after_accepting=True), times=None)
        for path in ("/jobs/*", "/queue", "/history/*"):
            comfyui.inject(Respond(path=path, status=502), times=None)

        with pytest.raises(Lost):
            self.generate(connect(comfyui.url), service)

        assert service.asked == []


def test_log_tells_the_fallback_and_never_the_prompt(service: ImagesService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    draw(service, positive="a secret fox")
    service.says(400, {"error": {"message": "a secret fox is not allowed"}})
    fails(service, positive="a secret fox")

    assert "fallback m succeeded in" in caplog.text
    assert "fallback m failed after" in caplog.text
    assert "secret fox" not in caplog.text
    assert KEY not in caplog.text

import json as json_module
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from comfybridge import client as client_module
from comfybridge import connections, transport
from comfybridge.client import Client, Queued, Refusal
from comfybridge.deadline import Deadline
from comfybridge.errors import ComfyError, Failed, Lost, Unavailable
from comfybridge.media import InputFile, MediaType
from comfybridge.messages import Output
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import Delay, DropConnection, Respond, TruncateView
from tests.core.making import Connect
from tests.core.raw_server import RawServer, Reply, closed_port, http, json

SECRET = "s3cr3t-tok3n"
CLASSES = ("KSampler", "SaveImage")


def graph(color: int = 0) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


def submit(client: Client, deadline: Deadline, prompt_id: str = "p1", **changed: Any) -> Refusal | None:
    return client.queue_prompt(
        changed.get("prompt", graph()), prompt_id=prompt_id, client_id="c1", extra_data={}, deadline=deadline
    )


def failure(client: Client, seconds: float = 5) -> Unavailable:
    with pytest.raises(Unavailable) as raised:
        client.system_stats(Deadline(seconds))
    return raised.value


class TestUnreachable:
    def test_closed_port_is_refused(self, connect: Connect) -> None:
        with closed_port() as url:
            error = failure(connect(url))

        assert "refuses the connection" in str(error)
        assert "host.docker.internal" in str(error)
        assert (error.refused, error.server) == (True, url)

    @pytest.mark.parametrize("seconds", [0.2, 0.0])
    def test_silent_socket_is_given_up_at_the_deadline(self, seconds: float, connect: Connect) -> None:
        with RawServer(lambda _: None) as server:
            started = time.monotonic()
            error = failure(connect(server.url), seconds)

        assert time.monotonic() - started < 5
        assert "took the connection but does not answer" in str(error)
        assert not error.refused

    def test_trickling_answer_is_given_up_at_the_deadline(self, connect: Connect) -> None:
        reply = json(b'{"system": {"comfyui_version": "0.8.0"}}' + b" " * 60)
        with RawServer(lambda _: Reply(reply.data, slow=60)) as server:
            started = time.monotonic()
            failure(connect(server.url), 0.5)

        assert time.monotonic() - started < 5

    def test_tls_to_a_plain_port_says_write_http(self, comfyui: Simulator, connect: Connect) -> None:
        error = failure(connect(comfyui.url.replace("http://", "https://")))

        assert "failed the TLS handshake" in str(error)
        assert "write http:// in base_url" in str(error)

    def test_unknown_host_is_said(self, connect: Connect) -> None:
        assert "the host name is unknown here" in str(failure(connect("http://comfyui.invalid:8188")))

    @pytest.mark.parametrize("url", ["localhost:8188", "http://", "http://.x:8188", f"http://{'x' * 64}:8188"])
    def test_address_that_cannot_be_asked_is_unavailable(self, url: str, connect: Connect) -> None:
        assert url in str(failure(connect(url)))

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (401, "does not let us in (HTTP 401)"),
            (403, "does not let us in (HTTP 403)"),
            (404, "has no /system_stats (HTTP 404)"),
            (429, "is asked too often"),
            (500, "answered /system_stats with HTTP 500"),
            (502, "cannot be reached through the proxy"),
            (503, "cannot be reached through the proxy"),
        ],
    )
    def test_bad_status_is_explained(self, status: int, words: str, comfyui: Simulator, connect: Connect) -> None:
        comfyui.inject(Respond(path="/system_stats", status=status, body=b"<html>no</html>", content_type="text/html"))

        assert words in str(failure(connect(comfyui.url)))

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
    def test_redirect_is_not_followed(self, status: str, connect: Connect, comfyui: Simulator) -> None:
        with RawServer(lambda _: http(status, b"", f"Location: {comfyui.url}/system_stats")) as server:
            error = failure(connect(server.url, {"Authorization": f"Bearer {SECRET}"}))

        assert "redirects to http://127.0.0.1" in str(error)
        assert comfyui.requests == []

    @pytest.mark.parametrize(
        "reply",
        [
            json(b"<html>Welcome to nginx</html>"),
            json(b""),
            json(b"[]"),
            json(b"null"),
            json(b"7"),
            json(b'{"system": null}'),
            json(b'{"system": 7}'),
            json(b"\xff\xfe"),
        ],
        ids=["html", "empty", "list", "null", "number", "no system", "odd system", "bytes"],
    )
    def test_answer_of_something_else_is_no_comfyui(self, reply: Reply, connect: Connect) -> None:
        with RawServer(lambda _: reply) as server:
            assert "is not a ComfyUI" in str(failure(connect(server.url)))

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(),
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
            Reply(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a"'),
            Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            Reply(b"SSH-2.0-OpenSSH_9.6\r\n"),
            Reply(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        ],
        ids=["closed", "cut off", "cut chunk", "bad chunk", "not http", "bad gzip"],
    )
    def test_broken_answer_is_a_dropped_connection(self, reply: Reply, connect: Connect) -> None:
        with RawServer(lambda _: reply) as server:
            assert "dropped the connection before the answer was complete" in str(failure(connect(server.url)))

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 200], ids=str)
    def test_question_that_a_proxy_answers_once_is_asked_once_more(
        self, status: int, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(status=status, body=b"<html>busy</html>"), times=1)

        assert "KSampler" in connect(comfyui.url).definitions(["KSampler"], deadline)
        assert comfyui.count("GET", "/object_info/KSampler") == 2

    @pytest.mark.parametrize("status", [401, 403, 404, 302], ids=str)
    def test_question_that_is_not_let_in_is_asked_once(
        self, status: int, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(status=status))

        with pytest.raises(Unavailable, match=str(status)):
            connect(comfyui.url).definitions(["KSampler"], deadline)
        assert comfyui.count("GET", "/object_info/KSampler") == 1

    def test_question_is_not_asked_once_more_after_the_deadline(self, comfyui: Simulator, connect: Connect) -> None:
        comfyui.inject(Respond(status=502))

        with pytest.raises(Unavailable, match="502"):
            connect(comfyui.url).definitions(["KSampler"], Deadline(0.45))
        assert comfyui.count("GET", "/object_info/KSampler") == 1

    def test_file_is_uploaded_once_more_when_a_proxy_answers_once(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/upload/image", method="POST", status=503), times=1)
        file = InputFile(b"\x89PNG\r\n\x1a\n", MediaType("image/png", ".png"))

        assert connect(comfyui.url).upload_image(file, deadline) == file.name

    @pytest.mark.parametrize("kind", ["refused", "silent", "status", "junk"])
    def test_no_error_text_shows_a_header(self, kind: str, comfyui: Simulator, connect: Connect) -> None:
        headers = {"Authorization": f"Bearer {SECRET}", "X-Key": SECRET}
        with closed_port() as closed, RawServer(lambda _: None) as silent:
            if kind == "status":
                comfyui.inject(Respond(path="/system_stats", status=401, body=SECRET.encode()))
            if kind == "junk":
                comfyui.inject(Respond(path="/system_stats", body=SECRET.encode()))
            url = {"refused": closed, "silent": silent.url}.get(kind, comfyui.url)
            error = failure(connect(url, headers), 0.3)

        chain: list[str] = []
        cause: BaseException | None = error
        while cause is not None:
            chain.append(f"{cause} {cause!r}")
            cause = cause.__cause__
        assert SECRET not in f"{error.zh} {chain}"


@pytest.mark.parametrize(
    "queue", [7, "p1", True, ["p1"], [7], [[]], [["p1"]], [[1, "p1"]], [[1, "p1", 7, 7]], {"a": 1}]
)
def test_queue_that_comfyui_would_not_list_has_no_job_or_is_not_comfyuis(
    queue: Any, comfyui: Simulator, connect: Connect, deadline: Deadline
) -> None:
    body = json_module.dumps({"queue_running": [], "queue_pending": queue}).encode()
    comfyui.inject(Respond(path="/queue", body=body, content_type="application/json"))

    try:
        found: object = connect(comfyui.url).queued("p1", deadline)
    except Unavailable as error:
        found = "is not a ComfyUI" in str(error)

    assert found in (None, True, Queued(is_running=False, prompt={}, extra_data={}))


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"x"'], ids=lambda body: str(body.decode()))
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/object_info/*", lambda client, deadline: client.definitions(CLASSES, deadline)),
        ("/prompt", lambda client, deadline: client.queue_remaining(deadline)),
        ("/jobs/*", lambda client, deadline: client.is_queued("p1", deadline)),
        ("/history/*", lambda client, deadline: client.history("p1", deadline)),
        ("/view_metadata/*", lambda client, deadline: client.view_metadata("checkpoints", "a", deadline)),
    ],
    ids=["object_info", "prompt", "jobs", "history", "view_metadata"],
)
def test_json_that_comfyui_would_not_say_breaks_nothing(
    path: str,
    ask: Callable[[Client, Deadline], Any],
    body: bytes,
    comfyui: Simulator,
    connect: Connect,
    deadline: Deadline,
) -> None:
    comfyui.inject(Respond(path=path, body=body, content_type="application/json"))

    try:
        answer = ask(connect(comfyui.url), deadline)
    except Unavailable as error:
        answer = str(error)

    assert answer in (None, False, {}) or "is not a ComfyUI" in answer


class TestConnections:
    def test_one_connection_serves_many_requests(self, connect: Connect, deadline: Deadline) -> None:
        with RawServer(lambda _: json(b'{"system": {"comfyui_version": "1"}}', keep_alive=True)) as server:
            client = connect(server.url)
            for _ in range(5):
                client.system_stats(deadline)

        assert len(server.requests) == 5
        assert server.connections == 1

    def test_stale_connection_is_replaced_without_a_word(self, connect: Connect, deadline: Deadline) -> None:
        replies = iter([json(b'{"system": {"comfyui_version": "1"}}', keep_alive=True), Reply()])
        good = json(b'{"system": {"comfyui_version": "2"}}')
        with RawServer(lambda _: next(replies, good)) as server:
            client = connect(server.url)
            client.system_stats(deadline)

            assert client.system_stats(deadline)["system"]["comfyui_version"] == "2"

    def test_closed_idle_connection_is_replaced_without_a_word(self, connect: Connect, deadline: Deadline) -> None:
        keeps = Reply(json(b'{"system": {"comfyui_version": "1"}}').data, is_last=True)
        with RawServer(lambda _: keeps) as server:
            client = connect(server.url)
            for _ in range(3):
                client.system_stats(deadline)

        assert server.connections == 3

    def test_path_prefix_goes_before_every_path(self, connect: Connect, deadline: Deadline) -> None:
        with Simulator(prefix="/comfy/ui") as comfyui:
            client = connect(comfyui.url + "/")
            with client.listen("p1", deadline) as listener:
                assert listener.hears
                assert submit(client, deadline) is None

            assert client.base_url == comfyui.url
            assert comfyui.count("GET", "/ws") == 1

    def test_headers_go_with_http_and_websocket(self, connect: Connect, deadline: Deadline) -> None:
        with Simulator(api_key=SECRET) as comfyui:
            client = connect(comfyui.url, {"Authorization": f"Bearer {SECRET}", "X-Team": "blue"})
            with client.listen("p1", deadline) as listener:
                client.system_stats(deadline)

                assert listener.hears
            assert [request.headers.get("X-Team") for request in comfyui.requests] == ["blue", "blue"]

    def test_environment_proxy_is_used_and_blamed(self, monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
        with closed_port() as proxy:
            monkeypatch.setenv("http_proxy", proxy)
            error = failure(connect("http://gpu.example.com:8188"))

        assert "through the proxy that the environment sets" in str(error)

    def test_netrc_of_the_machine_is_left_alone(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))

        connect(comfyui.url).system_stats(deadline)

        assert "Authorization" not in comfyui.requests[0].headers

    def test_closed_client_may_be_closed_again(self, comfyui: Simulator, deadline: Deadline) -> None:
        client = Client(comfyui.url)
        with client.listen("p1", deadline):
            pass

        client.close()
        client.close()


class TestQueuePrompt:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "_LOOK_AFTER_S", 0.05)

    def test_prompt_is_sent_as_comfyui_reads_it(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        client = connect(comfyui.url)

        refusal = client.queue_prompt(
            graph(), prompt_id="my id/☃", client_id="c1", extra_data={"a": {"b": "猫"}}, deadline=deadline
        )

        (request,) = comfyui.received("POST", "/prompt")
        assert refusal is None
        assert request.headers["Content-Type"] == "application/json"
        assert request.body == {
            "prompt": graph(),
            "prompt_id": "my id/☃",
            "client_id": "c1",
            "extra_data": {"a": {"b": "猫"}},
        }
        comfyui.wait_for("idle")
        assert client.history("my id/☃", deadline) is not None

    def test_refusal_is_handed_on(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        bad = {**graph(), "1": {**graph()["1"], "inputs": {"width": 0}}}

        refusal = submit(connect(comfyui.url), deadline, prompt=bad)

        assert refusal is not None
        assert refusal.body["error"]["type"] == "prompt_outputs_failed_validation"
        assert comfyui.count("POST", "/prompt") == 1

    def test_refusal_in_part_is_handed_on(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        half = {**graph(), "3": {"class_type": "SaveImage", "inputs": {"images": ["99", 0], "filename_prefix": "y"}}}

        refusal = submit(connect(comfyui.url), deadline, prompt=half)

        assert refusal is not None
        assert set(refusal.body["node_errors"]) == {"3"}

    @pytest.mark.parametrize("after_accepting", [True, False])
    def test_lost_answer_is_looked_up_and_the_job_runs_once(
        self,
        comfyui: Simulator,
        connect: Connect,
        deadline: Deadline,
        *,
        after_accepting: bool,
    ) -> None:
        comfyui.inject(DropConnection(path="/prompt", method="POST", after_accepting=after_accepting), times=1)

        assert submit(connect(comfyui.url), deadline) is None

        comfyui.wait_for("idle")
        assert list(comfyui.history) == ["p1"]
        assert comfyui.count("POST", "/prompt") == (1 if after_accepting else 2)

    def test_lost_answer_of_a_job_that_waits_is_looked_up_too(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.hold(queued=True)
        comfyui.inject(DropConnection(path="/prompt", method="POST", after_accepting=True), times=1)

        assert submit(connect(comfyui.url), deadline) is None
        assert comfyui.pending == ["p1"]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_busy_proxy_is_asked_once_more(
        self, status: int, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=status), times=1)

        assert submit(connect(comfyui.url), deadline) is None
        comfyui.wait_for("idle")
        assert list(comfyui.history) == ["p1"]

    def test_proxy_that_stays_busy_is_unavailable(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=429))

        with pytest.raises(Unavailable, match="asked too often"):
            submit(connect(comfyui.url), deadline)
        assert comfyui.count("POST", "/prompt") == 2

    def test_server_error_after_the_job_was_taken_makes_no_second_job(self, connect: Connect) -> None:
        def answer(line: str) -> Reply:
            if line.startswith("POST"):
                return http("500 Oops")
            return json(b'{"status": "pending"}' if "/api/jobs/" in line else b"{}")

        with RawServer(answer) as server:
            assert submit(connect(server.url), Deadline(10)) is None
            posts = [head for head in server.requests if head.startswith(b"POST /prompt")]

        assert len(posts) == 1

    @pytest.mark.parametrize("status", [401, 403, 404, 413])
    def test_other_statuses_are_not_tried_again(
        self, status: int, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=status))

        with pytest.raises(Unavailable, match=str(status)):
            submit(connect(comfyui.url), deadline)
        assert comfyui.count("POST", "/prompt") == 1

    @pytest.mark.parametrize("body", [b"[" * 100_000, b"9" * 10_000, b'{"a": NaN', b"\xff"], ids=len)
    def test_refusal_that_cannot_be_read_is_looked_up(
        self, body: bytes, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", status=400, body=body))

        with pytest.raises(Unavailable, match="is not a ComfyUI"):
            submit(connect(comfyui.url), deadline)
        assert comfyui.count("POST", "/prompt") == 2

    def test_server_that_died_over_the_answer_leaves_it_unknown(self, connect: Connect, deadline: Deadline) -> None:
        def answer(line: str) -> Reply:
            return Reply() if line.startswith("POST") else http("500 Oops")

        with RawServer(answer) as server, pytest.raises(Lost) as raised:
            submit(connect(server.url), deadline)

        assert "unknown whether the job runs" in str(raised.value)
        assert (raised.value.prompt_id, raised.value.server) == ("p1", server.url)

    def test_job_that_ends_between_two_looks_is_not_sent_again(self, connect: Connect, deadline: Deadline) -> None:
        looks: list[str] = []

        def answer(line: str) -> Reply:
            method, path, _ = line.split()
            if method == "POST":
                return Reply()
            looks.append(path)
            has_ended = len(looks) > 1
            if path.startswith("/history"):
                return json(b'{"p1": {"status": {"status_str": "success"}, "outputs": {}}}' if has_ended else b"{}")
            return json(b'{"id": "p1", "status": "completed"}' if has_ended else b'{"id": "p1", "status": "pending"}')

        with RawServer(answer) as server:
            assert submit(connect(server.url), deadline) is None

        assert len([head for head in server.requests if head.startswith(b"POST")]) == 1

    def test_closed_port_is_not_looked_up(self, connect: Connect, deadline: Deadline) -> None:
        with closed_port() as url, pytest.raises(Unavailable, match="refuses the connection"):
            submit(connect(url), deadline)

    def test_slow_answer_does_not_make_the_job_run_twice(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "READ_S", 0.3)
        comfyui.inject(Delay(path="/prompt", seconds=0.8), times=1)
        client = connect(comfyui.url)

        with_error: ComfyError | None = None
        try:
            submit(client, deadline)
        except ComfyError as error:
            with_error = error

        comfyui.wait_for(lambda server: server.history and not server.running and not server.pending)
        posts = comfyui.count("POST", "/prompt")
        assert posts == 1, with_error

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"error": "x"}'])
    def test_answer_that_names_no_prompt_id_is_no_comfyui(
        self, body: bytes, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/prompt", method="POST", body=body, content_type="application/json"))

        with pytest.raises(Unavailable, match="is not a ComfyUI"):
            submit(connect(comfyui.url), deadline)

    def test_server_that_chooses_its_own_prompt_id_is_too_old(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        body = json_module.dumps({"prompt_id": "other", "number": 1, "node_errors": {}}).encode()
        comfyui.inject(Respond(path="/prompt", method="POST", body=body, content_type="application/json"))

        with pytest.raises(Unavailable, match=r"0\.3\.45 or later"):
            submit(connect(comfyui.url), deadline)


class TestDefinitions:
    def test_each_class_is_asked_for_once(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        client = connect(comfyui.url)

        first, second = client.definitions(CLASSES, deadline), client.definitions(CLASSES, deadline)

        assert first == second
        assert set(first) == {"KSampler", "SaveImage"}
        assert comfyui.count("GET", "/object_info/*") == 2

    def test_class_that_the_server_lacks_is_absent(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        client = connect(comfyui.url)

        assert client.definitions(["NoSuchNode", "Epsilon Scaling"], deadline).keys() == {"Epsilon Scaling"}
        assert client.definitions(["NoSuchNode"], deadline) == {}
        assert comfyui.count("GET", "/object_info/*") == 2

    def test_refresh_asks_again_but_not_at_once(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = connect(comfyui.url)
        client.definitions(CLASSES, deadline)
        client.definitions(CLASSES, deadline, refresh=True)
        assert comfyui.count("GET", "/object_info/*") == 2

        monkeypatch.setattr(client_module, "_JUST_NOW_S", 0.0)
        client.definitions(CLASSES, deadline, refresh=True)

        assert comfyui.count("GET", "/object_info/*") == 4

    def test_old_definitions_are_fetched_anew(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = connect(comfyui.url)
        client.definitions(CLASSES, deadline)
        monkeypatch.setattr(client_module, "DEFINITIONS_FRESH_S", 0.0)

        client.definitions(CLASSES, deadline)

        assert comfyui.count("GET", "/object_info/*") == 4

    def test_frozen_fetch_does_not_hold_up_others(self, comfyui: Simulator, connect: Connect) -> None:
        comfyui.inject(Delay(path="/object_info/*", seconds=8))
        client = connect(comfyui.url)

        def patient() -> None:
            with pytest.raises(Unavailable):
                client.definitions(CLASSES, Deadline(6))

        first = threading.Thread(target=patient)
        first.start()
        comfyui.wait_for(lambda server: server.count("GET", "/object_info/*"))
        started = time.monotonic()
        with pytest.raises(Unavailable):
            client.definitions(CLASSES, Deadline(0.3))
        took = time.monotonic() - started
        first.join()

        assert took < 4

    def test_odd_class_name_is_quoted(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        assert connect(comfyui.url).definitions(["a/b?c#d"], deadline) == {}
        assert comfyui.requests[0].path == "/object_info/a/b?c#d"

    def test_metadata_is_cached_and_its_absence_too(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        client = connect(comfyui.url)

        for _ in range(2):
            found = client.view_metadata("checkpoints", "sd_xl_base_1.0.safetensors", deadline)
            assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
            assert client.view_metadata("checkpoints", "gone & é.safetensors", deadline) == {}

        assert [request.query for request in comfyui.received("GET", "/view_metadata/*")] == [
            {"filename": "sd_xl_base_1.0.safetensors"},
            {"filename": "gone & é.safetensors"},
        ]


class TestQueueAndHistory:
    def test_queue_size_is_read(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        comfyui.hold(queued=True)
        client = connect(comfyui.url)
        for prompt_id in ("p1", "p2"):
            submit(client, deadline, prompt_id)

        assert client.queue_remaining(deadline) == 2

    @pytest.mark.parametrize("has_jobs_route", [True, False])
    def test_job_is_found_while_it_waits_and_runs_and_not_after(
        self,
        comfyui: Simulator,
        connect: Connect,
        deadline: Deadline,
        *,
        has_jobs_route: bool,
    ) -> None:
        if not has_jobs_route:
            comfyui.inject(Respond(path="/api/jobs/*", status=404, body=b"404: Not Found"))
        client = connect(comfyui.url)
        comfyui.hold()
        submit(client, deadline, "p1")
        submit(client, deadline, "p2", prompt=graph(1))
        comfyui.wait_for("running")

        assert [client.is_queued(prompt_id, deadline) for prompt_id in ("p1", "p2", "p3")] == [True, True, False]
        assert client.history("p1", deadline) is None

        comfyui.release()
        comfyui.wait_for("idle")
        assert not client.is_queued("p1", deadline)
        assert client.history("p1", deadline) is not None
        assert comfyui.count("GET", "/queue") == (0 if has_jobs_route else 4)
        assert comfyui.count("GET", "/api/jobs/*") == (4 if has_jobs_route else 1)

    def test_failed_job_is_no_longer_queued(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        client = connect(comfyui.url)
        comfyui.hold()
        submit(client, deadline)
        comfyui.wait_for("running")
        comfyui.interrupt()
        comfyui.wait_for("idle")

        assert not client.is_queued("p1", deadline)


class TestCancel:
    def test_waiting_prompt_is_taken_out_of_the_queue(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        client = connect(comfyui.url)
        comfyui.hold()
        submit(client, deadline, "other")
        comfyui.wait_for("running")
        submit(client, deadline, "mine", prompt=graph(1))

        client.cancel("mine", deadline)

        assert (comfyui.running, comfyui.pending) == (["other"], [])
        assert comfyui.count("POST", "/interrupt") == 0

    def test_running_prompt_is_interrupted(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        client = connect(comfyui.url)
        comfyui.hold()
        submit(client, deadline, "mine")
        comfyui.wait_for("running")
        submit(client, deadline, "other", prompt=graph(1))

        client.cancel("mine", deadline)
        comfyui.wait_for(lambda server: server.running == ["other"])

        assert comfyui.received("POST", "/interrupt")[0].body == {"prompt_id": "mine"}
        assert comfyui.history["mine"]["status"]["status_str"] == "error"

    @pytest.mark.parametrize("prompt_id", ["finished", "unknown"])
    def test_nobody_elses_is_touched(
        self, prompt_id: str, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        client = connect(comfyui.url)
        submit(client, deadline, "finished")
        comfyui.wait_for(lambda server: "finished" in server.history)
        comfyui.hold()
        submit(client, deadline, "other", prompt=graph(1))
        comfyui.wait_for("running")

        client.cancel(prompt_id, deadline)

        assert comfyui.running == ["other"]
        assert comfyui.count("POST", "/interrupt") == 0

    @pytest.mark.parametrize("path", ["/queue", "/interrupt", "/free"])
    def test_harmless_post_survives_a_connection_that_broke(
        self, path: str, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        client = connect(comfyui.url)
        comfyui.hold()
        submit(client, deadline)
        comfyui.wait_for("running")
        comfyui.inject(DropConnection(path=path, method="POST"), times=1)

        client.cancel("p1", deadline)
        client.free(deadline)

        comfyui.wait_for("idle")
        assert comfyui.count("POST", path) == 2

    def test_cancelling_at_a_dead_server_says_so(self, connect: Connect, deadline: Deadline) -> None:
        with closed_port() as url, pytest.raises(Unavailable):
            connect(url).cancel("p1", deadline)

    def test_memory_is_freed(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        connect(comfyui.url).free(deadline)

        assert comfyui.received("POST", "/free")[0].body == {"unload_models": True, "free_memory": True}


class TestView:
    def test_bytes_arrive_as_they_are_on_disk(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        folder = comfyui.folder / "output" / "sub"
        folder.mkdir(parents=True, exist_ok=True)
        content = bytes(range(256)) * 3000
        (folder / "a b & é.png").write_bytes(content)

        assert connect(comfyui.url).view(Output("9", "a b & é.png", "sub", "output"), deadline) == content

    def test_missing_file_is_a_failure_not_an_image(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline
    ) -> None:
        with pytest.raises(Failed, match=r"The file gone\.png is no longer in ComfyUI's output folder") as raised:
            connect(comfyui.url).view(Output("9", "gone.png", "", "output"), deadline)

        assert "gone.png" in raised.value.zh

    def test_truncated_file_is_noticed(self, comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
        (comfyui.folder / "output").mkdir(exist_ok=True)
        (comfyui.folder / "output" / "a.png").write_bytes(b"x" * 100_000)
        comfyui.inject(TruncateView())

        with pytest.raises(Unavailable, match="dropped the connection"):
            connect(comfyui.url).view(Output("9", "a.png", "", "output"), deadline)

    def test_trickling_file_is_given_up_at_the_deadline(self, connect: Connect) -> None:
        reply = http("200 OK", b"x" * 60)
        with RawServer(lambda _: Reply(reply.data, slow=60)) as server:
            started = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer"):
                connect(server.url).view(Output("9", "a.png", "", "output"), Deadline(0.5))

        assert time.monotonic() - started < 5

    def test_file_beyond_all_reason_is_refused(
        self, comfyui: Simulator, connect: Connect, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transport, "LARGEST_ANSWER", 1000)
        (comfyui.folder / "output").mkdir(exist_ok=True)
        (comfyui.folder / "output" / "a.png").write_bytes(b"x" * 2000)

        with pytest.raises(Failed, match="is too large"):
            connect(comfyui.url).view(Output("9", "a.png", "", "output"), deadline)


def test_threads_share_one_client(comfyui: Simulator, connect: Connect, deadline: Deadline) -> None:
    client = connect(comfyui.url)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            submit(client, deadline, f"p{number}", prompt=graph(number))
            client.definitions(CLASSES, deadline)
            client.is_queued(f"p{number}", deadline)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shall show it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    comfyui.wait_for(lambda server: len(server.history) == 32)
    assert errors == []

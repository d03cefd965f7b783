import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfybridge import client as client_module
from comfybridge import collecting, events, generation, jobs, library, watch
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import Cancelled, ComfyError, Failed, FileGone, Lost, Rejected, TimedOut, Unavailable
from comfybridge.filling import Filled, Inputs
from comfybridge.jobs import Job
from comfybridge.library import Pasted
from comfybridge.messages import Output, Progress, Succeeded
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import (
    CutWebSockets,
    Delay,
    DropConnection,
    DuplicateEvents,
    ForeignEvents,
    LateHistory,
    NodeFailure,
    NoOutput,
    RefuseWebSockets,
    ReorderEvents,
    Respond,
    SilentWebSockets,
    TruncateView,
)
from comfybridge.watch import Waiting
from comfybridge.workflow import Prompt
from tests.core.making import Connect, generate, make, sort
from tests.core.raw_server import RawServer, Reply, http


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits that only spare a server's time."""
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watch, "_GRACE_S", 0.2)
    monkeypatch.setattr(watch, "_POLL_SLOWEST_S", 0.2)
    monkeypatch.setattr(events, "_DEAF_AFTER_S", 0.2)


class Running:
    """A generation in a thread of its own, and how it ended."""

    def __init__(self, client: Client, **wishes: Any) -> None:
        self.error: ComfyError | None = None
        self.seconds = 0.0
        self._wishes = wishes
        self._client = client
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            make(self._client, **self._wishes)
        except ComfyError as error:
            self.error = error
        self.seconds = time.monotonic() - started

    def end(self) -> ComfyError | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def filled(prompt: Prompt) -> Filled:
    return Filled(prompt=prompt, template=library.load("sd15"), seed=1, width=None, height=None, model=None)


def graph(**more: dict[str, Any]) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "x"},
            "_meta": {"title": "Keep it"},
        },
        **more,
    }


SD15 = library.load("sd15").prompt


def run(client: Client, prompt: Prompt, deadline: Deadline) -> tuple[Job, Succeeded]:
    """Submit a graph and follow it without anybody listening."""
    job = jobs.queue(client, filled(prompt), {}, deadline, {}, None)
    following = jobs.follow(job, deadline)
    while True:
        try:
            next(following)
        except StopIteration as end:
            return job, end.value


class TestSuccess:
    def test_picture_is_what_the_server_has_on_disk(self, comfyui: Simulator, client: Client) -> None:
        made = make(client)

        (file,) = made.files
        on_disk = (comfyui.folder / "output" / file.output.filename).read_bytes()
        assert file.data == on_disk
        assert (file.mime, file.filename) == ("image/png", "SD1.5_00001_.png")
        assert made.outcome is not None
        assert [job.prompt_id for job in made.outcome.jobs] == list(comfyui.history)

    def test_progress_and_place_in_the_queue_are_told(self, client: Client) -> None:
        events_of_it = make(client, steps=4).events

        assert [event.value for event in events_of_it if isinstance(event, Progress)] == [1, 2, 3, 4]
        assert events_of_it[0] == Waiting(0)

    def test_waiting_place_counts_down(self, comfyui: Simulator, client: Client, connect: Connect) -> None:
        comfyui.hold()
        for number in range(2):
            connect(comfyui.url).queue_prompt(
                graph(n={"class_type": "EmptyImage", "inputs": {"width": 16 + number}}),
                prompt_id=f"other{number}",
                client_id="other",
                extra_data={},
                deadline=Deadline(5),
            )
        comfyui.wait_for("running")
        items = generate(client)
        places = [next(items)]
        comfyui.release()

        made = sort(items)

        places += [event for event in made.events if isinstance(event, Waiting)]
        assert places[0] == Waiting(2)
        assert places == sorted(places, key=lambda place: -place.ahead if isinstance(place, Waiting) else 0)
        assert len(made.files) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            RefuseWebSockets(403),
            CutWebSockets(0),
            CutWebSockets(1),
            CutWebSockets(3),
            CutWebSockets(8),
            SilentWebSockets(),
            DuplicateEvents(),
            ReorderEvents(),
            ForeignEvents(),
            LateHistory(0.4),
        ],
        ids=str,
    )
    @pytest.mark.usefixtures("_quick")
    def test_picture_comes_whatever_happens_to_the_socket(self, fault: Any, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(fault)

        made = make(client)

        assert len(made.files) == 1
        assert comfyui.count("POST", "/prompt") == 1

    @pytest.mark.usefixtures("_quick")
    def test_cut_in_the_middle_of_a_run_is_survived(self, comfyui: Simulator, client: Client) -> None:
        comfyui.hold()
        running = Running(client)
        comfyui.wait_for("running")

        comfyui.cut_websockets()
        comfyui.release()

        assert running.end() is None

    @pytest.mark.usefixtures("_quick")
    def test_server_without_the_jobs_route_is_polled_by_its_queue(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(Respond(path="/api/jobs/*", status=404, body=b"404: Not Found"))
        comfyui.inject(RefuseWebSockets(403))

        assert len(make(client).files) == 1

    @pytest.mark.usefixtures("_quick")
    @pytest.mark.parametrize(
        "fault",
        [
            Respond(path="/api/jobs/*", status=502, body=b"<html>"),
            Respond(path="/history/*", status=502, body=b"<html>"),
            Respond(path="/history/*", body=b"<html>restarting</html>", content_type="text/html"),
            Respond(path="/history/*", body=b"[]", content_type="application/json"),
            DropConnection(path="/history/*"),
            DropConnection(path="/api/jobs/*"),
        ],
        ids=["queue 502", "history 502", "page", "list", "history dropped", "queue dropped"],
    )
    @pytest.mark.parametrize("has_socket", [True, False], ids=["socket", "polling"])
    def test_trouble_while_looking_is_survived(
        self,
        fault: Any,
        comfyui: Simulator,
        client: Client,
        *,
        has_socket: bool,
    ) -> None:
        if not has_socket:
            comfyui.inject(RefuseWebSockets(403))
        comfyui.inject(fault, times=3)

        assert len(make(client).files) == 1

    def test_truncated_picture_is_fetched_again(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(TruncateView(), times=1)

        (file,) = make(client).files

        assert file.data == (comfyui.folder / "output" / file.output.filename).read_bytes()
        assert comfyui.count("GET", "/view") == 2

    def test_fully_cached_run_delivers_its_old_picture(self, comfyui: Simulator, client: Client) -> None:
        first, second = make(client, name=Pasted(SD15), seed=5), make(client, name=Pasted(SD15), seed=5)

        assert [file.data for file in first.files] == [file.data for file in second.files]
        assert len(comfyui.history) == 2

    def test_cached_picture_that_is_gone_is_saved_once_more(self, comfyui: Simulator, client: Client) -> None:
        prompt = graph()
        prompt["1"]["inputs"]["batch_size"] = 2
        first = make(client, name=Pasted(prompt), positive=None)
        (comfyui.folder / "output" / first.files[1].output.filename).unlink()

        second = make(client, name=Pasted(prompt), positive=None)

        kept, saved = second.files
        assert kept.output == first.files[0].output
        assert saved.data == (comfyui.folder / "output" / saved.output.filename).read_bytes()
        assert second.outcome is not None
        (job,) = second.outcome.jobs
        assert saved.output.filename == f"x_{job.prompt_id}_00002_.png"
        assert saved.filename == "x_00002_.png"
        assert len(comfyui.history) == 3

    def test_cached_picture_that_nobody_can_save_again_is_a_failure(self, comfyui: Simulator, client: Client) -> None:
        prompt = {"1": graph()["1"], "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
        first = make(client, name=Pasted(prompt), positive=None)
        (comfyui.folder / "temp" / first.files[0].output.filename).unlink()

        with pytest.raises(FileGone, match="is no longer in ComfyUI's temp folder"):
            make(client, name=Pasted(prompt), positive=None)

        assert len(comfyui.history) == 2

    def test_template_saves_anew_what_was_saved_before(self, comfyui: Simulator, client: Client) -> None:
        first, second = make(client, seed=5), make(client, seed=5)

        for made, prompt_id in zip((first, second), comfyui.history, strict=True):
            assert prompt_id in made.files[0].output.filename
            assert made.files[0].filename == "SD1.5_00001_.png"
        cached = dict(comfyui.history[prompt_id]["status"]["messages"])["execution_cached"]
        assert "3" in cached["nodes"]
        assert "9" not in cached["nodes"]

    def test_cached_run_without_a_socket_delivers_too(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(RefuseWebSockets(403))

        first, second = make(client, name=Pasted(SD15), seed=5), make(client, name=Pasted(SD15), seed=5)

        assert first.files[0].data == second.files[0].data

    def test_previews_are_left_out_when_something_was_saved(self, client: Client, deadline: Deadline) -> None:
        prompt = graph(n={"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}})

        _, done = run(client, prompt, deadline)

        assert [output.type for output in done.outputs] == ["output"]

    def test_previews_are_delivered_when_nothing_else_was_saved(self, client: Client, deadline: Deadline) -> None:
        prompt = {"1": graph()["1"], "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}

        job, done = run(client, prompt, deadline)

        assert [output.type for output in done.outputs] == ["temp"]
        assert jobs.fetch(job, done.outputs[0], deadline).mime == "image/png"

    def test_prompt_says_what_made_it_and_wants_no_previews(self, comfyui: Simulator, client: Client) -> None:
        make(client)

        (request,) = comfyui.received("POST", "/prompt")
        assert request.body["extra_data"] == {"preview_method": "none", "comfybridge": {"template": "sd15@1"}}
        assert request.body["client_id"]


class TestFailed:
    def fails(self, client: Client, **wishes: Any) -> ComfyError:
        with pytest.raises(ComfyError) as raised:
            make(client, **wishes)
        assert raised.value.server == client.base_url
        return raised.value

    def test_failed_node_is_named_and_nothing_leaks(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("8", "RuntimeError", "shapes do not match\n"))

        error = self.fails(client)

        assert isinstance(error, Failed)
        assert str(error) == "Node 8 (VAE Decode) failed: shapes do not match"
        assert error.zh == "节点 8（VAE Decode）失败：shapes do not match"
        assert [error.prompt_id] == list(comfyui.history)
        assert "Traceback" not in f"{error}{error.zh}"
        assert "/srv/" not in f"{error}{error.zh}"
        assert comfyui.count("POST", "/prompt") == 1

    def test_endless_cause_is_cut(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("8", "RuntimeError", "x" * 100_000))

        assert len(str(self.fails(client))) < 700

    def test_cause_without_words_is_named_by_its_class(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("8", "AssertionError", ""))

        assert str(self.fails(client)) == "Node 8 (VAE Decode) failed: AssertionError"

    def test_success_without_output_is_a_failure(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NoOutput())

        error = self.fails(client)

        assert isinstance(error, Failed)
        assert "finished without an output" in str(error)
        assert error.prompt_id is not None

    def test_file_that_is_gone_is_a_failure_not_an_image(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(Respond(path="/view", status=404, body=b"<html>404</html>", content_type="text/html"))

        error = self.fails(client)

        assert isinstance(error, Failed)
        assert "is no longer in ComfyUI's output folder" in str(error)
        assert error.prompt_id is not None

    @pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b"\x89PNG\r\n\x1a\ncut off"])
    def test_what_is_no_picture_is_a_failure(self, body: bytes, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(Respond(path="/view", body=body, content_type="image/png"))

        error = self.fails(client)

        assert isinstance(error, Failed)
        assert "is not a whole file of that kind" in str(error)
        assert error.prompt_id is not None

    @pytest.mark.usefixtures("_quick")
    def test_picture_that_stays_truncated_is_no_picture(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(TruncateView())

        error = self.fails(client)

        assert error.outcome == "failed"
        assert "dropped the connection" in str(error)
        assert error.prompt_id is not None

    def test_file_name_without_an_extension_gets_one(
        self, comfyui: Simulator, client: Client, deadline: Deadline
    ) -> None:
        job, done = run(client, graph(), deadline)
        (output,) = done.outputs
        (comfyui.folder / "output" / output.filename).rename(comfyui.folder / "output" / "picture")

        file = jobs.fetch(job, Output("2", "picture", "", "output"), deadline)

        assert file.filename == "picture.png"

    def test_extension_follows_the_bytes(self, comfyui: Simulator, client: Client, deadline: Deadline) -> None:
        job, _ = run(client, graph(), deadline)
        (comfyui.folder / "output" / "a.b.png").write_bytes(b"\xff\xd8\xff\xe0rest")

        file = jobs.fetch(job, Output("2", "a.b.png", "", "output"), deadline)

        assert (file.filename, file.mime) == ("a.b.jpg", "image/jpeg")


class TestRejected:
    def test_refused_graph_is_explained_and_nothing_runs(
        self, comfyui: Simulator, client: Client, deadline: Deadline
    ) -> None:
        prompt = graph()
        prompt["1"]["inputs"]["width"] = 0

        with pytest.raises(Rejected, match=r"Node 1 \(EmptyImage\): width is 0, but must be from 1 to 16384") as raised:
            run(client, prompt, deadline)

        assert raised.value.prompt_id is not None
        assert raised.value.server == comfyui.url
        assert comfyui.history == {}

    def test_half_valid_graph_is_rejected_and_taken_back(
        self, comfyui: Simulator, client: Client, deadline: Deadline
    ) -> None:
        comfyui.hold(queued=True)
        prompt = graph(n={"class_type": "SaveImage", "inputs": {"images": ["99", 0], "filename_prefix": "y"}})

        with pytest.raises(Rejected, match="Node n"):
            run(client, prompt, deadline)

        assert (comfyui.running, comfyui.pending) == ([], [])

    def test_half_valid_graph_that_runs_already_is_interrupted(
        self, comfyui: Simulator, client: Client, deadline: Deadline
    ) -> None:
        comfyui.hold()
        prompt = graph(n={"class_type": "SaveImage", "inputs": {"images": ["99", 0], "filename_prefix": "y"}})

        with pytest.raises(Rejected, match="Node n"):
            run(client, prompt, deadline)

        comfyui.wait_for("idle")
        assert [entry["status"]["status_str"] for entry in comfyui.history.values()] in ([], ["error"])

    def test_half_valid_graph_stays_rejected_when_it_cannot_be_taken_back(
        self, comfyui: Simulator, client: Client, deadline: Deadline
    ) -> None:
        comfyui.inject(Respond(path="/queue", method="POST", status=500))
        prompt = graph(n={"class_type": "SaveImage", "inputs": {"images": ["99", 0], "filename_prefix": "y"}})

        with pytest.raises(Rejected, match="Node n"):
            run(client, prompt, deadline)


@pytest.mark.usefixtures("_quick")
@given(
    body=st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(("error", "node_errors", "errors", "type", "8")), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
@settings(max_examples=40)
def test_any_refusal_ends_as_an_error_of_ours(body: Any) -> None:
    def answer(line: str) -> Reply:
        if line.startswith("POST /prompt"):
            return http("400 Bad Request", json.dumps(body).encode(), keep_alive=True)
        return http("200 OK", b"{}", keep_alive=True)

    with pytest.MonkeyPatch.context() as patch, RawServer(answer) as server:
        patch.setattr(client_module, "_LOOK_AFTER_S", 0.0)
        client = Client(server.url)
        try:
            with pytest.raises((Rejected, Unavailable)):
                jobs.queue(client, filled(graph()), {}, Deadline(10), {}, None)
        finally:
            client.close()


class TestLog:
    """One line for each change of a job's state."""

    @pytest.fixture
    def lines(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level(logging.INFO, "comfybridge")
        return lambda: [record.getMessage() for record in caplog.records]

    def test_refusal(self, comfyui: Simulator, client: Client, lines: Callable[[], list[str]]) -> None:
        comfyui.inject(Respond("/prompt", method="POST", status=400, body=b'{"error": "no"}'))
        with pytest.raises(Rejected) as raised:
            make(client)

        (line,) = lines()
        assert line.startswith(f"prompt {raised.value.prompt_id} rejected at {client.base_url}, template sd15, ")

    def test_submission_that_is_lost(self, comfyui: Simulator, client: Client, lines: Callable[[], list[str]]) -> None:
        comfyui.inject(DropConnection("/prompt", method="POST"))
        for path in ("/jobs/*", "/queue", "/history/*"):
            comfyui.inject(Respond(path, status=401))
        with pytest.raises(Lost) as raised:
            make(client)

        (line,) = lines()
        assert line.startswith(f"prompt {raised.value.prompt_id} lost at {client.base_url}, template sd15, ")

    def test_cancelled_by_us(self, comfyui: Simulator, client: Client, lines: Callable[[], list[str]]) -> None:
        comfyui.hold(queued=True)
        job = jobs.queue(client, filled(graph()), {}, Deadline(10), {}, None)
        collecting.cancel([job.prompt_id], Pool([client]), deadline=Deadline(10))

        queued, cancelled = lines()
        assert queued == f"prompt {job.prompt_id} queued at {client.base_url}, template sd15"
        assert cancelled.startswith(f"prompt {job.prompt_id} cancelled at {client.base_url}, template sd15, ")

    def test_late_and_taken_back(self, comfyui: Simulator, client: Client, lines: Callable[[], list[str]]) -> None:
        comfyui.hold(queued=True)
        made = generation.generate(
            Pasted(graph()), Inputs(), Pool([client]), deadline=Deadline(3), extra_data={}, keeps_on=False
        )
        with pytest.raises(TimedOut) as raised:
            list(made)

        start = f"prompt {raised.value.prompt_id}"
        assert [line.removeprefix(start).split(" at ")[0] for line in lines()] == [
            " queued",
            " timed_out",
            " taken back",
        ]

    def test_look_at_a_job_that_goes_on_is_no_change(
        self, comfyui: Simulator, client: Client, lines: Callable[[], list[str]]
    ) -> None:
        comfyui.hold(queued=True)
        job = jobs.queue(client, filled(graph()), {}, Deadline(10), {}, None)
        with pytest.raises(TimedOut):
            list(collecting.collect([job.prompt_id], Pool([client]), deadline=Deadline(3)))

        assert len(lines()) == 1


class TestCancelledAndLost:
    @pytest.fixture(params=["socket", "polling"])
    def way(self, request: pytest.FixtureRequest, comfyui: Simulator) -> str:
        if request.param == "polling":
            comfyui.inject(RefuseWebSockets(403))
        return str(request.param)

    def test_job_that_somebody_interrupted_is_cancelled(self, comfyui: Simulator, client: Client, way: str) -> None:
        comfyui.hold()
        running = Running(client)
        comfyui.wait_for("running")
        comfyui.interrupt()

        error = running.end()

        assert isinstance(error, Cancelled), way
        assert "interrupted" in str(error)
        assert [error.prompt_id] == list(comfyui.history)

    def test_job_that_somebody_deleted_from_the_queue_is_cancelled(self, comfyui: Simulator, client: Client) -> None:
        comfyui.hold(queued=True)
        running = Running(client)
        comfyui.wait_for("queued")
        (prompt_id,) = comfyui.pending
        comfyui.delete_from_queue(prompt_id)

        error = running.end()

        assert isinstance(error, Cancelled)
        assert (error.prompt_id, error.server) == (prompt_id, comfyui.url)

    @pytest.mark.usefixtures("_quick")
    def test_deleted_job_among_others_is_cancelled(self, comfyui: Simulator, client: Client, connect: Connect) -> None:
        comfyui.hold(queued=True)
        connect(comfyui.url).queue_prompt(
            graph(), prompt_id="other", client_id="o", extra_data={}, deadline=Deadline(5)
        )
        running = Running(client)
        comfyui.wait_for(lambda server: len(server.pending) == 2)
        comfyui.delete_from_queue(comfyui.pending[1])

        assert isinstance(running.end(), Cancelled)
        assert comfyui.pending == ["other"]

    def test_deleted_job_is_noticed_without_a_socket(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(RefuseWebSockets(403))
        comfyui.hold(queued=True)
        running = Running(client)
        comfyui.wait_for("queued")
        comfyui.delete_from_queue(comfyui.pending[0])

        error = running.end()

        assert isinstance(error, (Cancelled, Lost))
        assert running.seconds < 9

    @pytest.mark.parametrize("queued", [True, False], ids=["waiting", "running"])
    def test_server_that_was_restarted_has_lost_the_job(
        self,
        comfyui: Simulator,
        client: Client,
        way: str,
        *,
        queued: bool,
    ) -> None:
        comfyui.hold(queued=queued)
        running = Running(client)
        comfyui.wait_for("queued" if queued else "running")
        comfyui.forget()

        error = running.end()

        assert isinstance(error, Lost), way
        assert "Run it again." in str(error)
        assert error.prompt_id is not None

    def test_server_that_stays_away_has_lost_the_job(
        self, comfyui: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch, "_GONE_AFTER_S", 0.5)
        comfyui.hold()
        running = Running(client)
        comfyui.wait_for("running")
        comfyui.stop()

        error = running.end()

        assert isinstance(error, Lost)
        assert "refuses the connection" in str(error)

    def test_history_that_was_cleared_has_lost_the_job(self, comfyui: Simulator, client: Client, way: str) -> None:
        comfyui.inject(Respond(path="/history/*", body=b"{}", content_type="application/json"))

        running = Running(client)

        assert isinstance(running.end(), Lost), way

    @pytest.mark.usefixtures("_quick")
    def test_running_job_is_not_lost_when_one_look_finds_nothing(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(RefuseWebSockets(403))
        comfyui.hold()
        comfyui.inject(Respond(path="/api/jobs/*", status=404, body=b'{"error": "Job not found"}'), times=1)
        running = Running(client)
        comfyui.wait_for(lambda server: server.count("GET", "/api/jobs/*") > 2)
        comfyui.release()

        assert running.end() is None


class TestDeadline:
    @pytest.mark.parametrize("queued", [True, False], ids=["waiting", "running"])
    def test_job_that_takes_too_long_goes_on(
        self,
        comfyui: Simulator,
        client: Client,
        *,
        queued: bool,
    ) -> None:
        comfyui.hold(queued=queued)
        running = Running(client, timeout_s=3)

        error = running.end()

        assert isinstance(error, TimedOut)
        assert [error.prompt_id] == comfyui.pending + comfyui.running
        assert str(error.prompt_id) in str(error)
        assert error.server == comfyui.url
        assert running.seconds < 8

    @pytest.mark.parametrize("path", ["/api/jobs/*", "/history/*", "/view"])
    def test_frozen_server_does_not_delay_the_end(self, path: str, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(RefuseWebSockets(403))
        comfyui.inject(Delay(path=path, seconds=20))
        running = Running(client, timeout_s=3)

        error = running.end()

        assert isinstance(error, TimedOut)
        assert error.prompt_id is not None
        assert running.seconds < 15

    @pytest.mark.parametrize("path", ["/object_info/*", "/ws", "/prompt"])
    def test_server_that_freezes_before_the_submission_does_not_delay_the_end(
        self, path: str, comfyui: Simulator, client: Client
    ) -> None:
        comfyui.inject(Delay(path=path, seconds=20))
        running = Running(client, timeout_s=1)

        error = running.end()

        assert isinstance(error, (Unavailable, TimedOut, Lost))
        assert running.seconds < 15

    def test_no_time_at_all_ends_at_once(self, client: Client) -> None:
        running = Running(client, timeout_s=0)

        assert running.end() is not None
        assert running.seconds < 8

    def test_picture_that_arrives_too_slowly_can_be_collected(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(Delay(path="/view", seconds=20))
        running = Running(client, timeout_s=3)

        error = running.end()

        assert isinstance(error, TimedOut)
        assert [error.prompt_id] == list(comfyui.history)


class TestCancel:
    def test_jobs_are_taken_back(
        self, comfyui: Simulator, client: Client, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A busy machine may need more than users would wait.
        monkeypatch.setattr(jobs, "_TAKE_BACK_S", 10.0)
        comfyui.hold()
        queued = [
            jobs.queue(client, filled(graph(n=node)), {}, deadline, {}, None)
            for node in ({"class_type": "EmptyImage", "inputs": {"color": color}} for color in range(3))
        ]
        comfyui.wait_for("running")

        jobs.cancel(queued)

        comfyui.wait_for("idle")
        assert comfyui.count("POST", "/interrupt") == 1

    def test_dead_server_is_no_error(
        self, comfyui: Simulator, client: Client, deadline: Deadline, caplog: pytest.LogCaptureFixture
    ) -> None:
        comfyui.hold(queued=True)
        job = jobs.queue(client, filled(graph()), {}, deadline, {}, None)
        comfyui.stop()

        jobs.cancel([job])

        assert f"prompt {job.prompt_id} could not be cancelled" in caplog.text

    def test_frozen_server_is_given_up_once_for_all_jobs(
        self, comfyui: Simulator, client: Client, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs, "_TAKE_BACK_S", 0.8)
        comfyui.hold(queued=True)
        queued = [jobs.queue(client, filled(graph()), {}, deadline, {}, None) for _ in range(5)]
        comfyui.inject(Delay(path="/queue", seconds=20))
        started = time.monotonic()

        jobs.cancel(queued)

        assert time.monotonic() - started < 3.5


@pytest.fixture(autouse=True)
def _nothing_is_left_listening() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    listening = [each for each in set(threading.enumerate()) - before if each.name.startswith("comfyui-events")]
    for thread in listening:
        thread.join(5)
    assert [thread.name for thread in listening if thread.is_alive()] == []

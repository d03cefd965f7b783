"""Jobs that outlive their call: collected, cancelled, and joined by a call that is repeated."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfybridge import collecting, generation, idempotency
from comfybridge.client import Client
from comfybridge.deadline import Deadline
from comfybridge.errors import Failed, InvalidInput, Lost, TimedOut, Unavailable
from comfybridge.filling import Inputs
from comfybridge.idempotency import Key
from comfybridge.jobs import Job
from comfybridge.library import Named, Source
from comfybridge.pool import Pool
from comfybridge.simulator import Simulator
from comfybridge.simulator.faults import NodeFailure, RefuseWebSockets, Respond
from tests.core.making import Connect, Made, sort
from tests.core.raw_server import closed_port

SOURCE = Named("sd15")


@pytest.fixture
def client(comfyui: Simulator, connect: Connect) -> Client:
    return connect(comfyui.url)


@pytest.fixture
def slow(connect: Connect) -> Iterator[tuple[Simulator, Client]]:
    with Simulator(work=30.0) as comfyui:
        yield comfyui, connect(comfyui.url)


def wishes(**more: Any) -> Inputs:
    return Inputs(**{"positive": "a fox", "width": 64, "height": 64, "steps": 2, "count": 1, **more})


def key(typed: str = "k", inputs: Inputs | None = None, source: Source = SOURCE) -> Key:
    return idempotency.key("app", "user", typed, source, inputs or wishes())


def submit(client: Client, inputs: Inputs | None = None, typed: str | None = None) -> tuple[Job, ...]:
    asked = inputs or wishes()
    return generation.submit(
        SOURCE,
        asked,
        Pool([client]),
        deadline=Deadline(10),
        extra_data={},
        key=key(typed, asked) if typed is not None else None,
    )


def generate(client: Client, typed: str, timeout_s: float = 10, *, keeps_on: bool = True, **more: Any) -> Made:
    asked = wishes(**more)
    return sort(
        generation.generate(
            SOURCE,
            asked,
            Pool([client]),
            deadline=Deadline(timeout_s),
            extra_data={},
            key=key(typed, asked),
            keeps_on=keeps_on,
        )
    )


def collect(client: Client, *prompt_ids: str, timeout_s: float = 10) -> Made:
    return sort(collecting.collect(prompt_ids, Pool([client]), deadline=Deadline(timeout_s)))


class TestCollect:
    def test_files_and_facts_come_as_from_the_call_itself(self, client: Client) -> None:
        (job,) = submit(client, wishes(seed=77))

        made = collect(client, job.prompt_id)

        assert [file.mime for file in made.files] == ["image/png"]
        assert made.outcome is not None
        (found,) = made.outcome.jobs
        filled = found.filled
        assert (found.prompt_id, filled.template.name, filled.seed) == (job.prompt_id, "sd15", 77)
        assert (filled.width, filled.height, filled.model) == (64, 64, job.filled.model)

    def test_several_ids_are_collected_in_their_order(self, client: Client) -> None:
        ids = [submit(client, wishes(seed=seed))[0].prompt_id for seed in (1, 2)]

        made = collect(client, *reversed(ids))

        assert [file.job.prompt_id for file in made.files] == ids[::-1]

    def test_job_that_is_not_finished_in_time_stays(self, slow: tuple[Simulator, Client]) -> None:
        _, client = slow
        (job,) = submit(client)

        with pytest.raises(TimedOut):
            collect(client, job.prompt_id, timeout_s=3)

        assert client.is_queued(job.prompt_id, Deadline(5))

    def test_standing_is_told(self, slow: tuple[Simulator, Client]) -> None:
        comfyui, client = slow
        running, waiting = (submit(client, wishes(seed=seed))[0] for seed in (1, 2))
        comfyui.wait_for("running")

        assert collecting.standing([running.prompt_id], Pool([client]), Deadline(5)) == "running"
        assert collecting.standing([waiting.prompt_id], Pool([client]), Deadline(5)) == "queued"

    def test_failed_job_fails_again_with_its_cause(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("8", "RuntimeError", "shapes do not match"))
        (job,) = submit(client)

        with pytest.raises(Failed, match="shapes do not match") as raised:
            collect(client, job.prompt_id)
        assert raised.value.prompt_id == job.prompt_id

    @pytest.mark.parametrize("path", ["/history/*", "/view"])
    @pytest.mark.parametrize("answer", [Respond(status=502), Respond(body=b"<html>busy</html>")], ids=["502", "page"])
    def test_proxy_that_answers_once_loses_nothing(
        self, path: str, answer: Respond, comfyui: Simulator, client: Client
    ) -> None:
        (job,) = submit(client)
        comfyui.wait_for("idle")
        comfyui.inject(dataclasses.replace(answer, path=path), times=1)

        assert len(collect(client, job.prompt_id).files) == 1

    def test_unknown_job_is_lost(self, client: Client) -> None:
        with pytest.raises(Lost, match="No server knows the job nobody") as raised:
            collect(client, "nobody")
        assert "没有任务 nobody" in raised.value.zh

    def test_server_that_does_not_answer_does_not_make_a_job_lost(self, client: Client, connect: Connect) -> None:
        with closed_port() as url:
            gone = connect(url)
        (job,) = submit(client)

        found = sort(collecting.collect([job.prompt_id], Pool([gone, client]), deadline=Deadline(10)))
        assert len(found.files) == 1
        with pytest.raises(Unavailable):
            sort(collecting.collect(["nobody"], Pool([gone, client]), deadline=Deadline(10)))


class TestCancel:
    def test_running_and_waiting_jobs_are_stopped_and_no_others(self, slow: tuple[Simulator, Client]) -> None:
        _, client = slow
        ids = [submit(client, wishes(seed=seed))[0].prompt_id for seed in (1, 2, 3)]

        stopped = collecting.cancel(ids[:2], Pool([client]), deadline=Deadline(10))

        assert [was_stopped for _, was_stopped in stopped] == [True, True]
        assert client.queued(ids[1], Deadline(5)) is None
        assert client.is_queued(ids[2], Deadline(5))

    def test_job_that_has_ended_is_left_alone(self, client: Client) -> None:
        made = generate(client, "x")
        assert made.outcome is not None

        ((job, was_stopped),) = collecting.cancel(
            [made.outcome.jobs[0].prompt_id], Pool([client]), deadline=Deadline(10)
        )

        assert (was_stopped, job.verdict is not None) == (False, True)

    def test_unknown_job_cancels_nothing(self, slow: tuple[Simulator, Client]) -> None:
        _, client = slow
        (job,) = submit(client)

        with pytest.raises(Lost):
            collecting.cancel([job.prompt_id, "nobody"], Pool([client]), deadline=Deadline(10))

        assert client.is_queued(job.prompt_id, Deadline(5))


class TestAfterTimeout:
    def test_job_goes_on_unless_it_shall_not(self, slow: tuple[Simulator, Client]) -> None:
        _, client = slow

        with pytest.raises(TimedOut, match="goes on in ComfyUI: collect it later by get_result") as kept:
            generate(client, "kept", 3)
        with pytest.raises(TimedOut, match="cancelled as after_timeout says") as stopped:
            generate(client, "stopped", 3, keeps_on=False)

        assert client.is_queued(kept.value.prompt_id or "", Deadline(5))
        assert client.queued(stopped.value.prompt_id or "", Deadline(5)) is None


class TestKeys:
    def test_repeated_call_joins_the_running_job(self, slow: tuple[Simulator, Client]) -> None:
        comfyui, client = slow
        (first,) = submit(client, typed="order 7")
        (second,) = submit(client, typed="order 7")

        assert second.prompt_id == first.prompt_id
        assert second.filled.seed == first.filled.seed
        assert len(comfyui.received("POST", "/prompt")) == 1

    def test_repeated_call_gets_the_pictures_of_a_finished_job(self, comfyui: Simulator, client: Client) -> None:
        first, second = generate(client, "k"), generate(client, "k")

        assert [file.data for file in first.files] == [file.data for file in second.files]
        assert len(comfyui.received("POST", "/prompt")) == 1

    def test_calls_at_the_same_time_queue_one_job(self, slow: tuple[Simulator, Client]) -> None:
        comfyui, client = slow
        with ThreadPoolExecutor(8) as callers:
            jobs = list(callers.map(lambda _: submit(client, typed="k")[0], range(8)))

        assert len({job.prompt_id for job in jobs}) == 1
        assert len(comfyui.received("POST", "/prompt")) == 1

    def test_joined_job_is_collected_without_a_socket(self, connect: Connect) -> None:
        with Simulator(work=0.4) as comfyui:
            comfyui.inject(RefuseWebSockets(403))
            client = connect(comfyui.url)
            submit(client, typed="k")

            made = generate(client, "k")

            assert len(made.files) == 1
            assert len(comfyui.received("POST", "/prompt")) == 1

    @pytest.mark.parametrize("more", [{"positive": "a cat"}, {"steps": 3}, {"values": {"cfg": 2}}])
    def test_other_inputs_under_the_same_key_are_refused(self, more: dict[str, Any], client: Client) -> None:
        submit(client, typed="k")

        with pytest.raises(InvalidInput, match="used before with other inputs") as raised:
            submit(client, wishes(**more), typed="k")
        assert "其他参数" in raised.value.zh

    def test_other_users_and_other_keys_have_jobs_of_their_own(self) -> None:
        ids = {
            idempotency.key(app, user, typed, SOURCE, wishes()).prompt_id(0, 0)
            for app, user, typed in [
                ("a", "u", "k"),
                ("b", "u", "k"),
                ("a", "v", "k"),
                ("a", "u", "l"),
                (None, None, "k"),
            ]
        }

        assert len(ids) == 5

    def test_failed_job_is_tried_anew(self, comfyui: Simulator, client: Client) -> None:
        comfyui.inject(NodeFailure("8", "RuntimeError", "unlucky"), times=1)
        with pytest.raises(Failed, match="unlucky"):
            generate(client, "k")

        again, once_more = generate(client, "k"), generate(client, "k")

        assert len(again.files) == 1
        assert once_more.outcome is not None
        assert again.outcome is not None
        assert once_more.outcome.jobs[0].prompt_id == again.outcome.jobs[0].prompt_id
        assert len(comfyui.received("POST", "/prompt")) == 2

    def test_silent_server_gets_no_second_job(self, client: Client, comfyui: Simulator) -> None:
        generate(client, "k")
        comfyui.stop()

        with pytest.raises(Unavailable):
            submit(client, typed="k")

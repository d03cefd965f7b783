"""The tools get_result and cancel_job in the plugin's real process, and calls that are repeated."""

from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.answer import Answer
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from tests.plugin.calls import Call, get, read_failure


def call(daemon: PluginDaemon, comfyui: Simulator, tool: str, **parameters: Any) -> Answer:
    return daemon.call_tool("comfyui", tool, parameters, credentials={"base_url": comfyui.url})


def test_result_of_a_call_that_did_not_wait(daemon: PluginDaemon, comfyui: Simulator, text2image: Call) -> None:
    queued = text2image(prompt="a fox", wait=False, seed="42", template="sd15", size="custom", width=64, height=64)

    answer = call(daemon, comfyui, "get_result", prompt_id=queued.variables["prompt_id"])

    assert len(answer.files) == 1
    assert answer.variables["status"] == "succeeded"
    kept = ("prompt_id", "seed", "width", "height", "template", "model")
    assert {name: answer.variables[name] for name in kept} == {name: queued.variables[name] for name in kept}
    assert answer.text.startswith("1 picture, 64×64, seed 42, sd15, ")


def test_unfinished_job_is_no_failure_and_can_be_cancelled(daemon: PluginDaemon) -> None:
    with Simulator(work=60.0) as comfyui:
        queued = call(daemon, comfyui, "text2image", prompt="a fox", wait=False)
        prompt_id = queued.variables["prompt_id"]

        answer = call(daemon, comfyui, "get_result", prompt_id=prompt_id, timeout=4)
        assert (answer.variables["status"], answer.files) == ("running", [])
        assert "still running" in answer.text
        assert "仍在运行" in answer.text

        cancelled = call(daemon, comfyui, "cancel_job", prompt_id=prompt_id)
        assert cancelled.variables == {"prompt_id": prompt_id, "status": "cancelled"}
        comfyui.wait_for("idle")
        assert get(f"{comfyui.url}/queue") == {"queue_running": [], "queue_pending": []}

        with pytest.raises(PluginError) as raised:
            call(daemon, comfyui, "get_result", prompt_id=prompt_id)
        assert read_failure(raised.value.message).outcome == "cancelled"


def test_finished_job_needs_no_cancelling(daemon: PluginDaemon, comfyui: Simulator, text2image: Call) -> None:
    done = text2image(prompt="a fox")

    answer = call(daemon, comfyui, "cancel_job", prompt_id=done.variables["prompt_id"])

    assert answer.variables["status"] == "succeeded"
    assert "Nothing to cancel" in answer.text


def test_late_call_tells_how_to_collect_its_job(daemon: PluginDaemon) -> None:
    with Simulator() as comfyui:
        comfyui.hold()
        with pytest.raises(PluginError) as raised:
            call(daemon, comfyui, "text2image", prompt="a fox", timeout=4)
        failure = read_failure(raised.value.message)
        assert (failure.outcome, "get_result" in failure.english) == ("timed_out", True)
        comfyui.release()

        answer = call(daemon, comfyui, "get_result", prompt_id=failure.prompt_id, timeout=40)

    assert len(answer.files) == 1


def test_late_job_is_taken_back_where_that_is_wanted(daemon: PluginDaemon) -> None:
    with Simulator(work=60.0) as comfyui:
        with pytest.raises(PluginError) as raised:
            call(daemon, comfyui, "text2image", prompt="a fox", timeout=4, after_timeout="cancel")
        failure = read_failure(raised.value.message)
        comfyui.wait_for("idle")

        assert (failure.outcome, "cancelled" in failure.english) == ("timed_out", True)
        assert get(f"{comfyui.url}/queue")["queue_running"] == []


@pytest.mark.parametrize("tool", ["get_result", "cancel_job"])
@pytest.mark.parametrize(
    ("prompt_id", "outcome", "english"),
    [("", "rejected", "prompt_id is empty"), ("nobody", "lost", "No server knows the job nobody")],
)
def test_bad_ids(
    tool: str, prompt_id: str, outcome: str, english: str, daemon: PluginDaemon, comfyui: Simulator
) -> None:
    with pytest.raises(PluginError) as raised:
        call(daemon, comfyui, tool, prompt_id=prompt_id)

    failure = read_failure(raised.value.message)
    assert failure.outcome == outcome
    assert english in failure.english


def test_repeated_call_gets_the_same_job(text2image: Call, comfyui: Simulator) -> None:
    first, second = (text2image(prompt="a fox", idempotency_key="message 1") for _ in range(2))

    assert first.variables["prompt_id"] == second.variables["prompt_id"]
    assert first.variables["seed"] == second.variables["seed"]
    assert first.files[0].data == second.files[0].data
    assert len(comfyui.received("POST", "/prompt")) == 1


def test_same_key_with_another_prompt_is_refused(text2image: Call) -> None:
    text2image(prompt="a fox", idempotency_key="k")

    with pytest.raises(PluginError) as raised:
        text2image(prompt="a cat", idempotency_key="k")
    assert "used before with other inputs" in read_failure(raised.value.message).english

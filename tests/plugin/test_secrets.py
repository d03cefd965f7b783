"""What must not be seen: not by users, not in Dify's logs, not in ComfyUI's history, not by another service.

The transcript is that of all tests of this module: what is seen once is seen in all later ones, too.
"""

import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError, ReverseCallRefusedError
from comfybridge.simulator.faults import DropConnection, NodeFailure, NoOutput, OutOfMemory, Respond
from tests.core.gate import Gate, context
from tests.core.images_service import KEY, ImagesService, images_service
from tests.core.making import catalogue

ROOT = Path(__file__).parents[2]
PASSWORD = "sn0w-passw0rd"
BASIC = base64.b64encode(f"fox:{PASSWORD}".encode()).decode()
LOGIN, TOKEN = "me:l0gin-pass", "t0ken-in-the-query"
ENCODED_LOGIN = base64.b64encode(LOGIN.encode()).decode()
SECRETS = (
    "sk-bridge-1234567890", "g4te-t0ken=", "comfyui-org-key-abcdef", KEY, PASSWORD, BASIC, LOGIN, ENCODED_LOGIN, TOKEN
)  # fmt: skip
CREDENTIALS = {
    "api_key": SECRETS[0],
    "headers": json.dumps({"X-Gate": SECRETS[1], "Proxy-Authorization": f"Basic {BASIC}"}),
    "comfy_org_api_key": SECRETS[2],
    "fallback_api_key": KEY,
    "fallback_model": "gpt-image-1",
    "blocked_words": "gore",
    "max_pixels": "8",
    "max_jobs_per_user": "3",
}
#: Typed by the user; it may be in answers, and in no line of the log.
PROMPT = "a vulpine apparition"


def with_secrets(url: str) -> str:
    return f"{url.replace('://', f'://{LOGIN}@')}?token={TOKEN}"


@pytest.fixture
def service() -> Iterator[ImagesService]:
    with images_service() as service:
        yield service


def log_of(daemon: PluginDaemon) -> list[str]:
    """The lines that the plugin logged, as Dify's daemon gets them."""
    lines = (json.loads(line) for line in daemon.transcript.splitlines() if line.startswith("{"))
    return [line["data"]["message"] for line in lines if line.get("event") == "log"]


def everything_in(comfyui: Simulator) -> str:
    """All that ComfyUI shows of its jobs."""
    shown = []
    for path in ("/history", "/queue"):
        with urllib.request.urlopen(f"{comfyui.url}{path}", timeout=10) as response:  # noqa: S310 (the simulator)
            shown.append(response.read().decode())
    return "".join(shown)


def seen(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


#: What is done to ComfyUI, the credentials and the parameters of the call, and the outcome.
ENDINGS: dict[str, tuple[Any, Mapping[str, Any], Mapping[str, Any], str]] = {
    "success": (None, {}, {}, "succeeded"),
    "links": (None, {}, {"output": "both"}, "succeeded"),
    "nobody waits": (None, {}, {"wait": False}, "queued"),
    "node failure": (NodeFailure(node="KSampler"), {}, {}, "failed"),
    "node failure that knows secrets of its own": (NodeFailure(node="KSampler", message=PROMPT), {}, {}, "failed"),
    "out of memory, once": (OutOfMemory(), {}, {}, "succeeded"),
    "no output": (NoOutput(), {}, {}, "failed"),
    "not let in": (Respond(status=401, body=" ".join(SECRETS).encode()), {}, {}, "failed"),
    "a page of something else": (Respond(status=200, body=" ".join(SECRETS).encode()), {}, {}, "failed"),
    "redirect": (Respond(status=302, body=SECRETS[0].encode()), {}, {}, "failed"),
    "no picture": (Respond(path="/view", body=SECRETS[0].encode()), {}, {}, "failed"),
    "refused graph": (
        Respond(path="/prompt", method="POST", status=400, body=b'{"error": {"type": "x"}, "node_errors": {}}'),
        {},
        {},
        "rejected",
    ),
    "answer lost": (DropConnection(path="/prompt", method="POST", after_accepting=True), {}, {}, "lost"),
    "late": (None, {}, {"timeout": 4}, "timed_out"),
    "wrong address": (None, {"base_url": with_secrets("http://comfyui.invalid")}, {}, "failed"),
    "address with a password": (None, {"base_url": f"http://fox:{PASSWORD}@comfyui.invalid"}, {}, "failed"),
    "password that ends the address": (None, {"base_url": f"http://fox:1/{PASSWORD}@comfyui:8188"}, {}, "rejected"),
    "bad headers": (None, {"headers": f"X-Gate {SECRETS[1]}"}, {}, "rejected"),
    "key that cannot be sent": (None, {"api_key": f"{SECRETS[0]}é"}, {}, "rejected"),
    "bad input": (None, {}, {"count": 99}, "rejected"),
    "blocked word": (None, {}, {"prompt": f"{PROMPT}, gore"}, "rejected"),
    "too many pixels": (None, {}, {"size": "4096x4096"}, "rejected"),
    "no moderation": (None, {}, {"moderation_model": {"provider": "p", "model": "m"}}, "failed"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_secrets_are_nowhere_however_a_call_ends(daemon: PluginDaemon, ending: str) -> None:
    fault, credentials, parameters, outcome = ENDINGS[ending]
    daemon.reverse["moderation"] = refuse_with_secrets
    with Simulator(work=30.0 if outcome == "timed_out" else 0.0) as comfyui:
        if fault is not None:
            comfyui.inject(fault, times=None)
        if ending == "answer lost":
            for path in ("/jobs/*", "/queue", "/history/*"):
                comfyui.inject(Respond(path=path, status=502, body=SECRETS[0].encode()), times=None)
        given = {"base_url": with_secrets(comfyui.url), **CREDENTIALS, "fallback_model": "", **credentials}

        try:
            answer = daemon.call_tool(
                "comfyui",
                "text2image",
                {"prompt": PROMPT, "progress": True, **parameters},
                credentials=given,
                user_id=ending,
            )
            ended, shown = answer.variables["status"], ""
        except PluginError as error:
            shown = f"{error.message}{error.traceback}"
            ended = shown.partition("outcome=")[2].partition(" ")[0]
        if fault is None and outcome not in ("rejected", "queued"):
            assert seen(everything_in(comfyui)) == []
        sent = [received.headers for received in comfyui.requests]

    assert ended == outcome
    assert seen(shown) == []
    assert seen(daemon.transcript) == []
    assert [line for line in log_of(daemon) if PROMPT in line] == []
    assert not any(KEY in str(headers) for headers in sent)


GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": PROMPT}},
}
#: Each further tool and the parameters of a call that succeeds; in place of ``JOB`` the id of a job that has ended.
TOOLS: dict[str, Mapping[str, Any]] = {
    "image2image": {"prompt": PROMPT, "from_prompt_id": "JOB"},
    "inpaint": {"prompt": PROMPT, "from_prompt_id": "JOB"},
    "upscale": {"from_prompt_id": "JOB"},
    "text2video": {"prompt": PROMPT, "seconds": 1, "size": "128x128"},
    "image2video": {"prompt": PROMPT, "seconds": 1, "size": "128x128", "from_prompt_id": "JOB"},
    "text2audio": {"prompt": PROMPT, "seconds": 1},
    "run_workflow": {"workflow": json.dumps(GRAPH), "values": json.dumps({"2.filename_prefix": PROMPT})},
    "get_result": {"prompt_id": "JOB"},
    "cancel_job": {"prompt_id": "JOB"},
    "server_info": {"search": "sd"},
}
#: What happens to ComfyUI after the job that the tools ask for has ended, and how it is asked.
TROUBLES: dict[str, tuple[Any, Mapping[str, Any]]] = {
    "none": (None, {}),
    "not let in": (Respond(status=401, body=" ".join(SECRETS).encode()), {}),
    "a page of something else": (Respond(status=200, body=" ".join(SECRETS).encode()), {}),
    "a node that fails": (NodeFailure(node="SaveImage", message=PROMPT), {}),
    "no such host": (None, {"base_url": with_secrets("http://comfyui.invalid")}),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_secrets_are_nowhere_in_any_tool(daemon: PluginDaemon, tool: str) -> None:
    with Simulator(models=catalogue()) as comfyui:
        given = {"base_url": with_secrets(comfyui.url), **CREDENTIALS, "fallback_model": "", "max_pixels": ""}
        made = daemon.call_tool(
            "comfyui", "text2image", {"prompt": PROMPT, "template": "sd15", "size": "64x64"}, credentials=given
        )
        parameters = {
            name: str(made.variables["prompt_id"]) if value == "JOB" else value for name, value in TOOLS[tool].items()
        }
        shown, ended = "", {}
        for trouble, (fault, credentials) in TROUBLES.items():
            comfyui.heal()
            if fault is not None:
                comfyui.inject(fault, times=None)
            try:
                answer = daemon.call_tool(
                    "comfyui", tool, {**parameters, "timeout": 20}, credentials={**given, **credentials}
                )
                ended[trouble] = "succeeded"
                shown += "".join(map(str, (answer.text, answer.variables, answer.json)))
            except PluginError as error:
                ended[trouble] = "failed"
                shown += f"{error.message}{error.traceback}"
        comfyui.heal()
        shown += everything_in(comfyui)

    assert (ended["none"], ended["not let in"], ended["no such host"]) == ("succeeded", "failed", "failed")
    assert seen(shown) == []
    assert seen(daemon.transcript) == []
    assert [line for line in log_of(daemon) if PROMPT in line] == []


def refuse_with_secrets(_request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ReverseCallRefusedError(f"{PROMPT}: {' '.join(SECRETS)}")


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_secrets_are_nowhere_when_the_fallback_is_asked(
    daemon: PluginDaemon, service: ImagesService, status: int
) -> None:
    if status != 200:
        service.says(status, {"error": {"message": f"Incorrect API key provided: {KEY}. {PROMPT}"}})
    given = {"base_url": with_secrets("http://comfyui.invalid"), **CREDENTIALS, "fallback_url": service.url}

    try:
        daemon.call_tool("comfyui", "text2image", {"prompt": PROMPT}, credentials=given)
        shown = ""
    except PluginError as error:
        shown = f"{error.message}{error.traceback}"

    assert bool(shown) == (status != 200)
    assert seen(shown) == []
    assert seen(daemon.transcript) == []
    assert [line for line in log_of(daemon) if PROMPT in line] == []
    assert set(seen(json.dumps([*service.asked, *service.headers]))) == {KEY}


def test_check_that_is_off_is_told_once(daemon: PluginDaemon, comfyui: Simulator) -> None:
    with Gate(int(comfyui.url.rpartition(":")[2]), context()) as gate:
        for _ in range(3):
            credentials = {"base_url": with_secrets(gate.url), "verify_tls": False}
            answer = daemon.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials=credentials)
            assert len(answer.files) == 1

    assert daemon.transcript.count("verify_tls is off") == 1
    assert "InsecureRequestWarning" not in daemon.transcript
    assert comfyui.count("GET", "/ws") == 1
    assert seen(daemon.transcript) == []


@pytest.mark.parametrize("fault", [None, Respond(status=403), Respond(status=200, body=SECRETS[0].encode())])
def test_secrets_are_in_no_line_when_credentials_are_checked(
    daemon: PluginDaemon, comfyui: Simulator, fault: Respond | None
) -> None:
    given = {"base_url": with_secrets(comfyui.url), **CREDENTIALS, "fallback_url": "http://images.example/v1"}
    if fault is None:
        assert daemon.validate_credentials("comfyui", given)
    else:
        comfyui.inject(fault)
        with pytest.raises(PluginError):
            daemon.validate_credentials("comfyui", given)

    assert seen(daemon.transcript) == []


def test_secrets_are_not_in_comfyuis_history(daemon: PluginDaemon, comfyui: Simulator) -> None:
    given = {"base_url": with_secrets(comfyui.url), **CREDENTIALS, "fallback_model": ""}
    daemon.call_tool("comfyui", "text2image", {"prompt": PROMPT, "output": "both"}, credentials=given)

    history = everything_in(comfyui)
    assert "KSampler" in history
    assert seen(history) == []


def test_each_state_of_a_job_is_one_line(daemon: PluginDaemon, comfyui: Simulator) -> None:
    answer = daemon.call_tool(
        "comfyui", "text2image", {"prompt": PROMPT, "template": "sd15"}, credentials={"base_url": comfyui.url}
    )

    prompt_id = answer.variables["prompt_id"]
    queued, started, ended = (line for line in log_of(daemon) if prompt_id in line)
    assert queued == f"prompt {prompt_id} queued at {comfyui.url}, template sd15"
    assert started == f"prompt {prompt_id} started at {comfyui.url}"
    assert ended.startswith(f"prompt {prompt_id} succeeded at {comfyui.url}, template sd15, ")
    assert ended.endswith(" s")


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "timed_out"])
def test_other_ends_are_one_line_too(daemon: PluginDaemon, comfyui: Simulator, outcome: str) -> None:
    credentials = {"base_url": comfyui.url}
    parameters = {"prompt": PROMPT, "template": "sd15", "timeout": 4 if outcome == "timed_out" else 60}
    if outcome == "failed":
        comfyui.inject(NodeFailure(node="KSampler", message=PROMPT))
    else:
        comfyui.hold()
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(daemon.call_tool, "comfyui", "text2image", parameters, credentials=credentials)
        if outcome == "cancelled":
            comfyui.wait_for("running")
            comfyui.interrupt()
            comfyui.release()
        with pytest.raises(PluginError, match=f"outcome={outcome}"):
            call.result()
    comfyui.release()

    ends = [line for line in log_of(daemon) if f" {outcome} at {comfyui.url}, template sd15, " in line]
    assert len(ends) == 1
    assert [line for line in log_of(daemon) if PROMPT in line] == []

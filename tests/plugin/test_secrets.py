"""What must not be seen: not by users, not in Dify's logs, not in ComfyUI's history."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.faults import NodeFailure, Respond
from tests.core.gate import Gate, context

ROOT = Path(__file__).parents[2]
SECRETS = ("sk-bridge-1234567890", "Zm94OnNub3c=", "comfyui-org-key-abcdef", "l0gin-pass", "t0ken-in-the-query")
CREDENTIALS = {
    "api_key": SECRETS[0],
    "headers": json.dumps({"X-Gate": SECRETS[1]}),
    "comfy_org_api_key": SECRETS[2],
}


def with_secrets(url: str) -> str:
    return f"{url.replace('://', f'://me:{SECRETS[3]}@')}?token={SECRETS[4]}"


@pytest.fixture
def fresh() -> Iterator[PluginDaemon]:
    """A process of its own, so that its transcript is this test's alone."""
    with PluginDaemon(ROOT) as daemon:
        yield daemon


@pytest.mark.parametrize("proves", ["success", "node failure", "refusal", "wrong address", "bad input", "credentials"])
def test_secrets_are_in_no_line_that_the_plugin_emits(fresh: PluginDaemon, comfyui: Simulator, proves: str) -> None:
    credentials = {"base_url": with_secrets(comfyui.url), **CREDENTIALS}
    parameters = {"prompt": "fox", "progress": True}
    match proves:
        case "node failure":
            comfyui.inject(NodeFailure(node="KSampler"))
        case "refusal":
            comfyui.inject(Respond(status=401, body=SECRETS[0].encode()))
        case "wrong address":
            credentials["base_url"] = with_secrets("http://comfyui.invalid")
        case "bad input":
            parameters["count"] = 99
        case "credentials":
            credentials["headers"] = f"X-Gate {SECRETS[1]}"

    try:
        fresh.call_tool("comfyui", "text2image", parameters, credentials=credentials)
        outcome = "success"
    except PluginError:
        outcome = "error"

    assert outcome == ("success" if proves == "success" else "error")
    assert [secret for secret in SECRETS if secret in fresh.transcript] == []


def test_check_that_is_off_is_told_once(fresh: PluginDaemon, comfyui: Simulator) -> None:
    with Gate(int(comfyui.url.rpartition(":")[2]), context()) as gate:
        for _ in range(3):
            credentials = {"base_url": with_secrets(gate.url), "verify_tls": False}
            answer = fresh.call_tool("comfyui", "text2image", {"prompt": "fox"}, credentials=credentials)
            assert len(answer.files) == 1

    assert fresh.transcript.count("verify_tls is off") == 1
    assert "InsecureRequestWarning" not in fresh.transcript
    assert comfyui.count("GET", "/ws") == 1
    assert [secret for secret in SECRETS if secret in fresh.transcript] == []


def test_secrets_are_in_no_line_when_credentials_are_checked(fresh: PluginDaemon, comfyui: Simulator) -> None:
    comfyui.inject(Respond(status=403))

    with pytest.raises(PluginError):
        fresh.validate_credentials("comfyui", {"base_url": with_secrets(comfyui.url), **CREDENTIALS})

    assert [secret for secret in SECRETS if secret in fresh.transcript] == []


def test_secrets_are_not_in_comfyuis_history(fresh: PluginDaemon, comfyui: Simulator) -> None:
    credentials = {"base_url": with_secrets(comfyui.url), **CREDENTIALS}
    fresh.call_tool("comfyui", "text2image", {"prompt": "fox", "output": "both"}, credentials=credentials)

    with urllib.request.urlopen(f"{comfyui.url}/history", timeout=10) as response:  # noqa: S310 (the simulator)
        history = response.read().decode()
    assert "KSampler" in history
    assert [secret for secret in SECRETS if secret in history] == []

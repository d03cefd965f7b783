"""What Dify asks when an operator saves the credentials."""

import socket
from typing import Any

import pytest

from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.faults import Respond
from tests.core.gate import Gate, context
from tests.plugin.calls import get, has_chinese


def refusal(daemon: PluginDaemon, **credentials: Any) -> str:
    with pytest.raises(PluginError) as raised:
        daemon.validate_credentials("comfyui", credentials)
    assert raised.value.error_type == "ToolProviderCredentialValidationError"
    assert has_chinese(raised.value.message)
    return raised.value.message


def test_good_address_is_accepted(daemon: PluginDaemon, comfyui: Simulator) -> None:
    assert daemon.validate_credentials("comfyui", {"base_url": comfyui.url})


def test_trailing_slash_and_spaces_are_forgiven(daemon: PluginDaemon, comfyui: Simulator) -> None:
    assert daemon.validate_credentials("comfyui", {"base_url": f" {comfyui.url}/ "})


def test_checking_draws_nothing(daemon: PluginDaemon, comfyui: Simulator) -> None:
    daemon.validate_credentials("comfyui", {"base_url": comfyui.url})

    assert get(f"{comfyui.url}/history") == {}


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("", "http://192.168.1.5:8188"),
        ("192.168.1.5:8188", "http://"),
        ("comfyui:8188", "http://"),
        ("ftp://comfyui", "http://"),
        ("http://user:sec/secret@comfyui:8188", "%2F"),
        ("http://comfyui:8188/?token=secret#", "#"),
        ("http://comfyui:99999", "base_url"),
    ],
)
def test_address_that_cannot_be_right_is_refused(daemon: PluginDaemon, address: str, hint: str) -> None:
    message = refusal(daemon, base_url=address)

    assert hint in message
    assert "secret" not in message


def test_server_that_is_down_is_named(daemon: PluginDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

    message = refusal(daemon, base_url=url)

    assert url in message
    assert "host.docker.internal" in message


def test_server_that_wants_a_key_says_so(daemon: PluginDaemon, comfyui: Simulator) -> None:
    comfyui.inject(Respond(status=401))

    assert "api_key" in refusal(daemon, base_url=comfyui.url)


def test_page_of_something_else_is_refused(daemon: PluginDaemon, comfyui: Simulator) -> None:
    comfyui.inject(Respond(status=200, body=b"<html>It works!</html>", content_type="text/html"))

    refusal(daemon, base_url=comfyui.url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("headers", "no colon"),
        ("headers", "{broken"),
        ("verify_tls", "maybe"),
        ("max_prompt_length", "long"),
        ("image_base_url", "pictures"),
    ],
)
def test_field_that_cannot_be_read_is_named(daemon: PluginDaemon, comfyui: Simulator, name: str, value: str) -> None:
    assert name in refusal(daemon, base_url=comfyui.url, **{name: value})


def test_server_behind_a_self_made_certificate_needs_the_check_off(daemon: PluginDaemon, comfyui: Simulator) -> None:
    with Gate(port(comfyui), context()) as gate:
        assert "verify_tls" in refusal(daemon, base_url=gate.url)
        assert daemon.validate_credentials("comfyui", {"base_url": gate.url, "verify_tls": False})


def test_login_token_and_prefix_let_in(daemon: PluginDaemon) -> None:
    with Simulator(prefix="/comfy") as comfyui:
        address = comfyui.url.replace("://", "://me:pass@")
        assert daemon.validate_credentials("comfyui", {"base_url": f"{address}/?token=abc"})
        (asked,) = comfyui.requests

    assert asked.headers["Authorization"] == "Basic bWU6cGFzcw=="
    assert asked.query == {"token": "abc"}


def test_https_behind_a_redirect_is_found(daemon: PluginDaemon, comfyui: Simulator) -> None:
    with Gate(port(comfyui), context()) as gate:
        address = gate.url.replace("https:", "http:")
        assert daemon.validate_credentials("comfyui", {"base_url": address, "verify_tls": False})
        assert "TLS" in refusal(daemon, base_url=address)


def port(comfyui: Simulator) -> int:
    return int(comfyui.url.rpartition(":")[2])


def test_each_of_several_servers_gets_its_own_key(daemon: PluginDaemon) -> None:
    with Simulator(api_key="one") as one, Simulator(api_key="two") as two:
        hosts = [server.url.removeprefix("http://") for server in (one, two)]
        keys = f"{hosts[0]}=Authorization: Bearer one | {hosts[1]}=Authorization: Bearer two"
        both = {"base_url": f"{one.url}, {two.url}", "headers": keys}

        assert daemon.validate_credentials("comfyui", both)
        assert "HTTP 401" in refusal(daemon, **{**both, "headers": keys.replace("two", "one")})


def test_header_for_a_server_that_is_not_there_names_those_that_are(daemon: PluginDaemon, comfyui: Simulator) -> None:
    message = refusal(daemon, base_url=comfyui.url, headers="gpu9.lan=X-Api-Key: s3cr3t")

    assert comfyui.url in message
    assert "s3cr3t" not in message

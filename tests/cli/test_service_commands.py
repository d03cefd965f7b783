import argparse

import pytest

from comfybridge.cli import main
from comfybridge.cli.serving import loopback, seconds


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_listens_on_this_machine(host: str) -> None:
    assert loopback(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu1", ""])
def test_listens_nowhere_else_without_keys(host: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"API keys|API 密钥"):
        loopback(host)


def test_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--comfyui", "http://127.0.0.1:8188", "--data", "unused", "--host", "0.0.0.0"])

    assert ended.value.code == 2
    assert "0.0.0.0 can be reached by others" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "wanted"), [("7d", 604800), ("12h", 43200), ("30m", 1800), ("90s", 90), ("5", 5)])
def test_how_long_results_last(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


def test_what_is_no_time() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds("soon")

import argparse

import pytest

from comfybridge.cli import main
from comfybridge.cli.serving import seconds, web_address
from comfybridge.service import DATABASE_VARIABLE


@pytest.mark.parametrize("address", ["https://pictures.example.com", "http://10.0.0.5:8288/comfy/"])
def test_address_for_links(address: str) -> None:
    assert web_address(address) == address.rstrip("/")


@pytest.mark.parametrize("address", ["pictures.example.com", "ftp://x", "https://", "https://x/?a=1"])
def test_what_is_no_address_for_links(address: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        web_address(address)


def test_keys_need_a_database(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)

    for where, sentence in (([], "which database?"), (["--data", "nowhere"], "no `comfybridge serve` runs on nowhere")):
        with pytest.raises(SystemExit) as ended:
            main(["keys", "list", *where])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
    for url in ("postgresql://127.0.0.1:1/none", "nonsense"):
        assert main(["keys", "list", "--database", url]) == 8
        assert "the database cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "wanted"), [("7d", 604800), ("12h", 43200), ("30m", 1800), ("90s", 90), ("5", 5)])
def test_how_long_results_last(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


def test_what_is_no_time() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds("soon")

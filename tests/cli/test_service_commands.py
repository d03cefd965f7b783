import argparse

import pytest

from comfybridge.cli import main
from comfybridge.cli.serving import seconds, web_address
from comfybridge.cli.tables import table
from comfybridge.service import DATABASE_VARIABLE
from comfybridge.service.servers import Change, described


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
        assert "the database cannot be used: " in capsys.readouterr().err


@pytest.mark.parametrize(("text", "wanted"), [("7d", 604800), ("12h", 43200), ("30m", 1800), ("90s", 90), ("5", 5)])
def test_how_long_results_last(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


def test_what_is_no_time() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds("soon")


def test_chinese_takes_two_columns_in_tables() -> None:
    assert table([["名称", "A"], ["bob", "1"]]).splitlines() == ["名称  A", "bob   1"]


def test_servers_without_a_worker_are_told_in_both_languages() -> None:
    row = dict.fromkeys(("worker", "is_added", "models", "running", "waiting", "loaded"))
    silent = {**row, "url": "http://gpu1:8188", "mode": "active", "health": "well", "silent_s": None}

    told = described({**silent, "reason": "Old.", "reason_zh": "旧。"})
    removed = described({**silent, "mode": "removed", "reason": "Old.", "reason_zh": "旧。"})

    assert (told["health"], told["reason"], told["reason_zh"]) == (
        "unknown",
        "Its worker is silent.",
        "其工作进程没有响应。",
    )
    assert (removed["reason"], removed["reason_zh"]) == ("", "")


def test_removed_server_that_is_resumed_needs_its_worker_again() -> None:
    change = Change(
        action="resume", url="http://gpu1:8188", mode="active", before="removed", is_served=False, stranded=0
    )

    assert "run `comfybridge worker --comfyui http://gpu1:8188" in change.sentences[0]

"""The store: moto as S3, and what is said at the start where it cannot be used."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from moto.server import ThreadedMotoServer

from comfybridge.cli import main
from comfybridge.service.store import StoreAway, Unusable, open_store
from tests.faults.ports import own_port

SETTINGS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server with one bucket, named as operators do."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    assert requests.put(f"{url}/pictures", timeout=30).status_code == 200
    yield url
    requests.post(f"{url}/moto-api/reset", timeout=30)
    server.stop()


def test_keeps_bytes_by_key(endpoint: str) -> None:
    store = open_store("s3://pictures/fleet")
    store.check()
    store.put("outputs/a/1-0", b"\x89PNG")

    assert store.get("outputs/a/1-0") == b"\x89PNG"
    assert b"fleet/outputs/a/1-0" in requests.get(f"{endpoint}/pictures", timeout=30).content
    store.delete(["outputs/a/1-0", "never/was"])
    with pytest.raises(FileNotFoundError):
        store.get("outputs/a/1-0")


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "store" / "probe").mkdir(parents=True)

    with pytest.raises(Unusable, match=r"cannot be reached|may not write"):
        open_store(str(tmp_path / "store")).check()


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_missing_bucket_ends_the_start(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"gateway": ["--port", str(own_port())], "worker": ["--comfyui", "http://127.0.0.1:8188"]}[command]

    status = main([command, *options, "--database", "postgresql://nowhere", "--store", "s3://missing/fleet"])

    assert status == 1
    assert "s3://missing/fleet does not exist: make the bucket first" in capsys.readouterr().err


@pytest.mark.usefixtures("endpoint")
def test_serve_ends_before_it_has_started_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data", str(tmp_path / "data"), "--port", str(own_port())]

    assert main(["serve", *where, "--store", "s3://missing"]) == 1

    assert "make the bucket first" in capsys.readouterr().err
    assert not (tmp_path / "data" / "postgres").exists()


def test_wrong_credentials_are_told_and_nothing_secret_with_them(endpoint: str) -> None:
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=30)
    try:
        with pytest.raises(Unusable, match="refuses these credentials") as refused:
            open_store("s3://pictures/fleet").check()
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=30)
    assert "secret" not in str(refused.value)
    assert "凭证" in refused.value.zh


@pytest.mark.usefixtures("endpoint")
def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{own_port()}")
    store = open_store("s3://pictures/fleet")

    with pytest.raises(Unusable, match="cannot be reached"):
        store.check()
    with pytest.raises(StoreAway):
        store.put("key", b"")


def test_no_address_of_a_store() -> None:
    with pytest.raises(Unusable, match="no address of a store"):
        open_store("floppy://a")


def test_file_in_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "outputs" / "taken" / "1-0").mkdir(parents=True)

    store.put("outputs/a/1-0", b"first")
    store.put("outputs/a/1-0", b"second")
    with pytest.raises(StoreAway):
        store.put("outputs/taken/1-0", b"a folder has this name")

    assert store.get("outputs/a/1-0") == b"second"
    assert store.under("outputs") == ["outputs/a/1-0"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["1-0"]


def test_what_a_dead_process_left_half_written_is_not_listed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("outputs/a/1-0", b"whole")

    (tmp_path / "outputs" / "a" / "1-1#1234").write_bytes(b"ha")

    assert store.under("outputs/a") == ["outputs/a/1-0"]


def test_small_and_large_files_are_read_alike(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for key, data in (("small", b"1"), ("large", b"2" * 3 * 2**20)):
        store.put(key, data)
        assert asyncio.run(store.get_async(key)) == data
    with pytest.raises(FileNotFoundError):
        asyncio.run(store.get_async("missing"))

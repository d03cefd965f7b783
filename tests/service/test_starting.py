"""What an operator reads who starts a command of the service wrongly: one sentence and a status, never a traceback."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from comfybridge.cli import exits, main
from comfybridge.client import Client
from comfybridge.service.worker.describing import Description
from tests.faults.ports import own_port
from tests.service.running import database

NOWHERE = "postgresql://comfybridge:secret@127.0.0.1:1/comfybridge"
NOBODY = "http://127.0.0.1:1"
COMMANDS = [
    ["gateway", "--store", "STORE", "--port", "PORT"],
    ["worker", "--store", "STORE", "--comfyui", NOBODY],
    ["servers", "list"],
    ["servers", "drain", NOBODY],
    ["keys", "list"],
    ["versions"],
]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("address", [NOWHERE, "nonsense"])
def test_database_that_is_away(
    command: list[str], address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"STORE": str(tmp_path), "PORT": str(own_port())}
    typed = [given.get(word, word) for word in command]

    status = main([*typed, "--database", address])

    (said,) = capsys.readouterr().err.splitlines()
    assert status == exits.UNAVAILABLE
    assert said.startswith(f"comfybridge {command[0]}: the database cannot be used: ")
    assert "secret" not in said


@pytest.mark.parametrize("command", ["gateway", "serve"])
def test_port_that_another_program_has(
    command: str,
    taken: int,
    postgres: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("comfybridge.service.serve._GOING_S", 0.0)
    where = {"gateway": ["--database", postgres, "--store", str(tmp_path)], "serve": ["--data", str(tmp_path)]}[command]

    status = main([command, *where, "--port", str(taken)])

    said = capsys.readouterr().err.splitlines()[-1]
    assert status == exits.PROBLEMS
    assert said.startswith(f"comfybridge {command}: cannot listen on 127.0.0.1:{taken}: ")
    assert said.endswith("another --port.")


def test_data_that_cannot_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")

    status = main(["serve", "--data", str(tmp_path / "file"), "--port", str(own_port())])

    said = capsys.readouterr().err
    assert status == exits.PROBLEMS
    assert said == f"comfybridge serve: {tmp_path / 'file'} cannot be used: File exists.\n"


def test_folder_that_is_no_postgresqls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("none")

    status = main(["serve", "--data", str(tmp_path), "--port", str(own_port())])

    said = capsys.readouterr().err.splitlines()[-1]
    assert status == exits.PROBLEMS
    assert said.startswith(f"comfybridge serve: PostgreSQL cannot start on {tmp_path / 'postgres'}: ")


@pytest.mark.parametrize("command", [["serve", "--data", "d"], ["worker", "--store", "s", "--database", NOWHERE]])
def test_address_without_scheme(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--comfyui", "gpu1:8188"]) == exits.USAGE

    assert "'gpu1:8188' is no address of a server, such as http://gpu1:8188." in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ["--keep", "0"],
        ["--keep=-7d"],
        ["--keep", "nan"],
        ["--links", "inf"],
        ["--port", "0"],
        ["--port", "99999"],
        ["--most-queued", "0"],
        ["--largest-upload", "-1"],
    ],
    ids=" ".join,
)
def test_numbers_that_mean_nothing(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--data", "d", *option])

    assert ended.value.code == exits.USAGE
    assert f"argument {option[0].partition('=')[0]}: " in capsys.readouterr().err


def test_server_that_does_not_answer_is_told_once(postgres: str, caplog: pytest.LogCaptureFixture) -> None:
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        description = Description(Client(NOBODY), NOBODY, "worker")
        description.register(connection)

        for _ in range(2):
            description.look(connection)

    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{NOBODY} refuses the connection" in told


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("COMFYBRIDGE_LOG", "xml", "text or json"), ("COMFYBRIDGE_ALERT_SECRET", "x", "--alert-webhook needs")],
)
def test_environment_that_cannot_be_used(
    variable: str, value: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        main(["serve", "--data", "d", "--alert-webhook", "https://ops.example.com"])

    assert ended.value.code == exits.USAGE
    assert said in capsys.readouterr().err

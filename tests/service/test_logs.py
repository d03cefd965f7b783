"""The log as JSON: one object a line, with the job it is about, and no secret in it."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from comfybridge.cli import exits, main
from comfybridge.service import logs
from comfybridge.service.masking import masked
from comfybridge.simulator import Simulator
from tests.contract import graphs
from tests.contract.server import Server
from tests.service.running import service


def test_lines_of_a_job_name_it(postgres: str, tmp_path: Path) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.Json())
    logger = logging.getLogger("comfybridge.service")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with Simulator() as comfyui, service(postgres, tmp_path, [comfyui.url]) as url:
            server = Server(url)
            prompt_id = server.submit(graphs.solid())
            server.finished(prompt_id)
            server.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (ended,) = [line for line in lines if line.get("prompt_id") == prompt_id and "succeeded" in line["message"]]
    assert ended["server"] == comfyui.url
    assert ended["level"] == "info"
    assert ended["logger"] == "comfybridge.service.worker.worker"
    assert ended["time"].endswith("+00:00")
    assert any("prompt_id" not in line for line in lines)


def test_fault_is_a_field_and_lines_stay_lines() -> None:
    try:
        int("http://me:secret@gpu/?token=abc")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "two\nlines %s", ("中文",), sys.exc_info())
    with logs.about(prompt_id="outer", server="http://gpu"), logs.about(prompt_id="inner", owner="me"):
        text = logs.Json().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert line["message"] == "two\nlines 中文"
    assert (line["prompt_id"], line["server"], line["owner"]) == ("inner", "http://gpu", "me")
    assert "int() with base 10: 'http://***@gpu/?token=***'" in line["exception"]
    assert "prompt_id" not in json.loads(logs.Json().format(record))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pass@host/x", "http://***@host/x"),
        ("postgresql://u:p@db/x?sslmode=require", "postgresql://***@db/x?sslmode=require"),
        ("/view?token=abc&filename=x.png", "/view?token=***&filename=x.png"),
        ("/view?filename=x.png&signature=abc", "/view?filename=x.png&signature=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("whsec_abc+/=", "whsec_***"),
        ("host=db password=hunter2", "host=db password=***"),
        ("nothing http://host/secret", "nothing http://host/secret"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
    record = logging.LogRecord("x", logging.INFO, __file__, 1, text, (), None)
    assert shown in logs.Text().format(record)


def test_form_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFYBRIDGE_LOG", "xml")
    with pytest.raises(SystemExit, match=str(exits.USAGE)):
        main(["serve", "--comfyui", "http://127.0.0.1:8188", "--data", str(tmp_path)])
    assert "text or json" in capsys.readouterr().err


def test_alerts_need_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMFYBRIDGE_ALERT_SECRET", raising=False)
    with pytest.raises(SystemExit, match=str(exits.USAGE)):
        main(["serve", "--comfyui", "http://gpu", "--data", str(tmp_path), "--alert-webhook", "http://x/"])
    assert "COMFYBRIDGE_ALERT_SECRET" in capsys.readouterr().err

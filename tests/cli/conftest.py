"""Fixtures of the tests of the command line."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxies, servers or languages of the developer's; files go into a folder of the test's own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("COMFYUI_", "LC_", "LANG")) or name == "CI":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

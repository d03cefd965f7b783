"""Fixtures of the tests of the Python API."""

import os
from collections.abc import Iterator

import pytest

import comfybridge
from comfybridge.simulator import Simulator


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("COMFYUI_"):
            monkeypatch.delenv(name)


@pytest.fixture
def comfy(comfyui: Simulator) -> Iterator[comfybridge.Comfy]:
    with comfybridge.connect(comfyui.url, timeout=20) as connected:
        yield connected

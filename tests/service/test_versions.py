"""Versions of templates over real sockets: who gets which, what is on record, and what happens to one that fails."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings

from comfybridge import library, versioned
from comfybridge.cli import main
from comfybridge.service import templates
from comfybridge.service.migrating import migrate
from comfybridge.service.templates import BadTemplates
from comfybridge.simulator import Simulator
from comfybridge.simulator.daemon import PluginDaemon, PluginError
from comfybridge.simulator.faults import FailNode
from comfybridge.versioned import Mark
from tests.contract import graphs
from tests.contract.server import Server, eventually
from tests.core.pairs import pair
from tests.service.running import database, gateway, worker

ROOT = Path(__file__).parents[2]
EDITORS = pair("pinned", "default").workflow
"""A workflow of the editor: it samples, which GRAPH does not."""
GRAPH = graphs.solid(color=0x336699)


def write(folder: Path, rollout: str = "", **files: Any) -> None:
    """Files by name, ``poster_2`` for ``poster@2.json``; each is there whole or not at all."""
    for name, content in {**files, **({"rollout.yaml": rollout} if rollout else {})}.items():
        path = folder / (name if "." in name else f"{name.replace('_', '@')}.json")
        text = content if isinstance(content, str) else json.dumps(content)
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").replace(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    path.mkdir()
    return path

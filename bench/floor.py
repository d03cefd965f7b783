"""The plugins beside which ours is measured, written into a folder: one with a raw client, one with nothing at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROVIDER, TOOL = "floor", "picture"

# Not imported: with it would come the SDK, which patches the process that imports it.
_RAW = Path(__file__).with_name("raw.py")

_MAIN = """\
from dify_plugin import DifyPluginEnv, Plugin

plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
"""
_MANIFEST = """\
version: 0.1.0
type: plugin
author: bench
name: floor
label: {en_US: Floor}
description: {en_US: Floor}
icon: icon.svg
created_at: 2026-11-20T00:00:00Z
resource: {memory: 268435456}
plugins: {tools: [provider/floor.yaml]}
meta:
  version: 0.0.2
  arch: [amd64, arm64]
  runner: {language: python, version: "3.12", entrypoint: main}
"""
_PROVIDER_YAML = """\
identity: {author: bench, name: floor, label: {en_US: Floor}, description: {en_US: Floor}, icon: icon.svg}
credentials_for_provider:
  base_url: {type: text-input, required: true, label: {en_US: Address}}
tools: [tools/picture.yaml]
extra: {python: {source: provider/floor.py}}
"""
_PROVIDER = """\
from typing import Any

from dify_plugin import ToolProvider


class Floor(ToolProvider):
    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        pass
"""
_TOOL_YAML = """\
identity: {name: picture, author: bench, label: {en_US: Picture}}
description: {human: {en_US: A picture}, llm: A picture}
parameters:
  - name: seed
    type: string
    required: true
    form: llm
    label: {en_US: Seed}
    human_description: {en_US: Seed}
    llm_description: Seed
extra: {python: {source: tools/picture.py}}
"""
_EMPTY_TOOL = """\
from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage


class Picture(Tool):
    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        yield from ()
"""
_FILES = {
    "main.py": _MAIN,
    "manifest.yaml": _MANIFEST,
    "_assets/icon.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n',
    "provider/__init__.py": "",
    "provider/floor.yaml": _PROVIDER_YAML,
    "provider/floor.py": _PROVIDER,
    "tools/__init__.py": "",
    "tools/picture.yaml": _TOOL_YAML,
    "tools/picture.py": _EMPTY_TOOL,
}


def write_bare(folder: Path) -> Path:
    """Write a plugin whose one tool does nothing."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def write_floor(folder: Path, entry: Mapping[str, Any], facts: Mapping[str, Any], seed: int) -> Path:
    """Write a plugin that makes the same pictures by raw requests.

    ``entry`` is the history's entry of a picture that comfybridge made with ``seed``, ``facts`` what it told Dify.
    """
    write_bare(folder)
    shutil.copy(_RAW, folder / "tools" / "picture.py")
    _, _, prompt, extra_data, *_ = entry["prompt"]
    sampler = next(node_id for node_id, node in prompt.items() if node["inputs"].get("seed") == seed)
    own = {name: value for name, value in extra_data.items() if name not in ("client_id", "create_time")}
    submission = {"prompt": prompt, "extra_data": own, "sampler": sampler, "facts": facts}
    (folder / "tools" / "submission.json").write_text(json.dumps(submission), encoding="utf-8")
    return folder

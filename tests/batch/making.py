"""Tables on disk, and batches of them on a simulator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfybridge.api import Comfy
from comfybridge.batch import folder, manifest, naming, plan, tables
from comfybridge.batch.manifest import Entry
from comfybridge.batch.run import Batch
from comfybridge.batch.summary import Summary

SMALL: Mapping[str, Any] = {"template": "sd15", "width": "64", "height": "64", "steps": "1"}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def run(
    comfy: Comfy,
    table: Path,
    out: Path,
    *,
    pattern: str = naming.DEFAULT,
    given: Mapping[str, Any] = SMALL,
    **wishes: Any,
) -> tuple[list[Entry], Summary]:
    """Run a batch to its end; what ended in this run, and the summary of all."""
    planned = plan.of_table(tables.open_table(table), given)
    with folder.opened(out) as opened:
        batch = Batch(
            comfy=comfy,
            plan=planned,
            folder=opened,
            manifest=manifest.Manifest(out / manifest.NAME),
            pattern=naming.pattern(pattern),
            **wishes,
        )
        return list(batch.run()), batch.summary

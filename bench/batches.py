"""Many pictures by ``comfybridge batch``, a process of its own: more servers, its memory, its processor time."""

import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.memory import Memory
from bench.server import Server
from bench.table import Aim, Row, Section

_REPOSITORY = Path(__file__).resolve().parents[1]
_SERVERS, _ROWS, _WORK_S = 4, 400, 0.25
_MANY = 10_000
_SETTLED = 100
"""Rows after which everything is loaded that a batch needs."""

_GAIN = Aim(1 / 3.8)
_GROWTH = Aim(50 * 2**20, of_ratio=False)
_CPU = Aim(0.005, of_ratio=False)


@dataclass(frozen=True, slots=True)
class Figures:
    """One batch: seconds by the clock and of the processor, memory after the first rows and at most."""

    wall_s: float
    cpu_s: float
    settled: int
    peak: int


def measure() -> Section:
    """400 rows on four servers and on one, and 10,000 rows on one that answers at once."""
    with contextlib.ExitStack() as servers:
        urls = [servers.enter_context(Server(_WORK_S)).url for _ in range(_SERVERS)]
        several, one = _batch(urls, _ROWS), _batch(urls[:1], _ROWS)
    with Server(0.0) as server:
        many = _batch([server.url], _MANY)
    return Section(
        "Batches",
        "one server",
        [
            Row(
                label=f"{_ROWS} rows of {_WORK_S:g} s on {_SERVERS} servers",
                ours=several.wall_s,
                other=one.wall_s,
                unit="s",
                aim=_GAIN,
            ),
            Row(
                label=f"memory of {_MANY:,} rows above that of {_SETTLED}",
                ours=many.peak - many.settled,
                other=None,
                unit="MiB",
                aim=_GROWTH,
            ),
            Row(label="processor time per row", ours=many.cpu_s / _MANY, other=None, unit="ms", aim=_CPU),
            Row(label="rows per second", ours=_MANY / many.wall_s, other=None),
        ],
        [f"{_SERVERS} servers do {one.wall_s / several.wall_s:.2f} times the work of one"],
    )


def _batch(urls: Sequence[str], rows: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="comfybridge-batch-") as folder:
        table = Path(folder) / "rows.csv"
        lines = (f"a red fox in fresh snow {row},{row},sd15,64,64\n" for row in range(rows))
        table.write_text("prompt,seed,template,width,height\n" + "".join(lines), encoding="utf-8")
        addresses = [word for url in urls for word in ("--server", url)]
        command = [sys.executable, "-m", "comfybridge.cli", "batch", str(table), "-o", folder, "--quiet", *addresses]
        before, started = _cpu_s(), time.monotonic()
        with subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # noqa: S101  # asked for above
            with Memory(process.pid) as memory:
                settled = peak = made = 0
                for made, _ in enumerate(process.stdout, start=1):
                    settled = memory.now if made == min(_SETTLED, rows) else settled
                    peak = memory.peak if made % _SETTLED == 0 or made == rows else peak
            process.wait()
        if made != rows or process.returncode:
            raise RuntimeError(f"the batch made {made} of {rows} rows and ended with status {process.returncode}")
        return Figures(time.monotonic() - started, _cpu_s() - before, settled, peak)


def _cpu_s() -> float:
    """Of all processes that were started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

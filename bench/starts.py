"""How long processes take to be of use: a plugin to its first heartbeat, the package and the command to their end."""

import subprocess
import sys
import time
from pathlib import Path

from bench.plugins import REPOSITORY
from bench.samples import Samples
from comfybridge.simulator.daemon import PluginDaemon

IMPORT = ("-c", "import comfybridge")
HELP = ("-m", "comfybridge.cli", "--help")


def measure(bare: Path, times: int) -> Samples:
    """Start both in turn; the first start of each, which compiles, does not count."""
    samples = Samples()
    for turn in range(times + 1):
        for plugin, taken in ((REPOSITORY, samples.ours), (bare, samples.other)):
            with PluginDaemon(plugin) as daemon:
                if turn:
                    taken.append(daemon.heartbeats[0])
    return samples


def of_python(ours: tuple[str, ...], other: tuple[str, ...], times: int) -> Samples:
    """Run Python with either arguments, in turn, from start to end; the first of each does not count."""
    samples = Samples()
    for turn in range(times + 1):
        for arguments, taken in ((ours, samples.ours), (other, samples.other)):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY)
            if turn:
                taken.append(time.perf_counter() - started)
    return samples

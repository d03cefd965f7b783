"""From the start of a plugin process to its first heartbeat, which is when Dify's daemon takes it to be up."""

from pathlib import Path

from bench.plugins import REPOSITORY
from bench.samples import Samples
from comfybridge.simulator.daemon import PluginDaemon


def measure(bare: Path, times: int) -> Samples:
    """Start both in turn; the first start of each, which compiles, does not count."""
    samples = Samples()
    for turn in range(times + 1):
        for plugin, taken in ((REPOSITORY, samples.ours), (bare, samples.other)):
            with PluginDaemon(plugin) as daemon:
                if turn:
                    taken.append(daemon.heartbeats[0])
    return samples

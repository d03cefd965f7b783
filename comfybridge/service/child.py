"""A process of ours beside us, started again when it dies."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

_MAIN = "import sys; from comfybridge.cli import main; sys.exit(main())"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_WELL_AFTER_S = 10.0
_END_S = 5.0


@dataclass(slots=True)
class Child:
    """A process of ours: this program with other arguments; its standard input tells it when we are gone."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    not_before: float = field(default=0.0)

    @property
    def has_ended_well(self) -> bool:
        """Whether it ended of itself, and in order."""
        return self.process is not None and self.process.poll() == 0

    def look(self) -> None:
        """Start it, or start it again; ever more slowly one that keeps dying."""
        now = time.monotonic()
        if self.process is not None:
            status = self.process.poll()
            if status is None:
                return
            logger.warning("%s ended with status %s", self.name, status)
            is_well = now - self.started > _WELL_AFTER_S
            self.pause_s = _FIRST_PAUSE_S if is_well else min(self.pause_s * 2, _LONGEST_PAUSE_S)
            self.not_before, self.process = now + self.pause_s, None
        if now >= self.not_before:
            command = [sys.executable, "-c", _MAIN, *self.arguments]
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603  (our own)
            self.started = now

    def end(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.terminate()

    def join(self) -> None:
        """Wait until it has ended, which is not for long."""
        if self.process is None:
            return
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

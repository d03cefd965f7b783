"""Bytes by key in a local folder. obstore would do it, too: on threads of its own, to which it hands each file over."""

import secrets
from pathlib import Path

_SMALL = 2 * 2**20
_WRITES = 3


class Folder:
    """All calls raise OSError; those that read FileNotFoundError when there is nothing under the key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, key: str, data: bytes) -> None:
        """Write a file that others see whole or not at all."""
        path = self._path / key
        # Named as obstore names what it has not written to its end yet: it lists none of these.
        beside = Path(f"{path}#{secrets.randbits(60)}")
        for again in reversed(range(_WRITES)):
            try:
                beside.write_bytes(data)
                break
            except FileNotFoundError:
                if not again:
                    raise
                # Or it was there, and whoever deleted the last file in it took it away.
                path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def get_small(self, key: str) -> bytes | None:
        """Read at once what takes no longer than to ask a thread for it; ``None`` for what is larger."""
        with (self._path / key).open("rb", buffering=0) as file:
            data = file.read(_SMALL)
        return data if len(data) < _SMALL else None

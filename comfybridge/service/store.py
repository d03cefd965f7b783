"""Pictures and uploads: a local folder, or whatever obstore reaches by an address (``s3://``, ``gs://``, ``az://``).

The store knows keys and bytes only; what a file is called and of which type it is stands in its row.
"""

import hashlib
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

_TRIAL_KEY = "trial"
"""What is written to see whether that is possible; always the same."""


class Store:
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._objects, key, data)

    def get(self, key: str) -> bytes:
        """Raises FileNotFoundError when there is none."""
        return bytes(obstore.get(self._objects, key).bytes())

    async def put_async(self, key: str, data: bytes) -> None:
        await obstore.put_async(self._objects, key, data)

    async def get_async(self, key: str) -> bytes:
        """Raises FileNotFoundError when there is none."""
        return bytes(await (await obstore.get_async(self._objects, key)).bytes_async())

    async def is_writable(self) -> bool:
        """Whether something can be put there now."""
        try:
            await obstore.put_async(self._objects, _TRIAL_KEY, b"")
        except (BaseError, OSError):
            return False
        return True

    def delete(self, keys: list[str]) -> None:
        """Delete what is there of these."""
        for key in keys:
            try:
                obstore.delete(self._objects, key)
            except FileNotFoundError:
                continue


def open_store(address: str) -> Store:
    """``address``: a folder, or an address of obstore's; credentials come from the environment, as its own tools do."""
    if "://" in address:
        return Store(from_url(address))
    folder = Path(address)
    folder.mkdir(parents=True, exist_ok=True)
    return Store(LocalStore(folder))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upload_key(digest: str) -> str:
    """The same for the same bytes, so that nothing is stored twice."""
    return f"uploads/{digest[:2]}/{digest}"


def output_key(prompt_id: str, fence: int, number: int) -> str:
    """Under the owner's fence: one that lost its lease can never overwrite what its successor stored."""
    return f"outputs/{hashlib.sha256(prompt_id.encode()).hexdigest()[:32]}/{fence}-{number}"

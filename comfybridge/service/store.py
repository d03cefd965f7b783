"""Pictures and uploads: a local folder, or whatever obstore reaches by an address (``s3://``, ``gs://``, ``az://``).

The store knows keys and bytes only; what a file is called and of which type it is stands in its row.
"""

import hashlib
from pathlib import Path

import obstore
import obstore.exceptions
from obstore.store import LocalStore, ObjectStore, from_url

FAULTS = (OSError, obstore.exceptions.BaseError)
"""The store is away, or does not let us in."""


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

    def under(self, folder: str) -> list[str]:
        """The keys that begin so."""
        return [found["path"] for several in obstore.list(self._objects, folder) for found in several]

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
    return Store(LocalStore(folder, automatic_cleanup=True))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upload_key(digest: str) -> str:
    """The same for the same bytes, so that nothing is stored twice."""
    return f"uploads/{digest[:2]}/{digest}"


def output_key(prompt_id: str, fence: int, number: int) -> str:
    """Under the owner's fence: one that lost its lease can never overwrite what its successor stored."""
    return f"{output_folder(prompt_id)}{fence}-{number}"


def output_folder(prompt_id: str) -> str:
    """How the keys of all that a job stored begin."""
    return f"outputs/{hashlib.sha256(prompt_id.encode()).hexdigest()[:32]}/"

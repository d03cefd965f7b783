"""Pictures and uploads: a local folder, or whatever obstore reaches by an address (``s3://``, ``gs://``, ``az://``).

The store knows keys and bytes only; what a file is called and of which type it is stands in its row.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from comfybridge.service.folder import Folder

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=10)}
"""Whoever needs a store that is away for longer waits for it."""
_CONNECT, _WHOLE = timedelta(seconds=5), timedelta(seconds=60)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_PROBE, _PROBED = "probe", b"comfybridge"
"""What is written to see whether that is possible; always the same."""


class StoreAway(Exception):
    """The store does not answer, or not as it should, and may be back later."""


class Unusable(Exception):
    """The store cannot be used as it is given: a sentence in English and one in Chinese."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.zh = zh


class Store:
    """All calls raise StoreAway, and those that read FileNotFoundError when there is nothing under the key."""

    def __init__(self, objects: ObjectStore, address: str, folder: Folder | None = None) -> None:
        self._objects = objects
        self._address = address
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        with _told():
            if self._folder is not None:
                self._folder.put(key, data)
            else:
                obstore.put(self._objects, key, data)

    def get(self, key: str) -> bytes:
        with _told(FileNotFoundError):
            return bytes(obstore.get(self._objects, key).bytes())

    async def put_async(self, key: str, data: bytes) -> None:
        with _told():
            await obstore.put_async(self._objects, key, data)

    async def get_async(self, key: str) -> bytes:
        with _told(FileNotFoundError):
            if self._folder is not None and (small := self._folder.get_small(key)) is not None:
                return small
            return bytes(await (await obstore.get_async(self._objects, key)).bytes_async())

    async def is_writable(self) -> bool:
        """Whether something can be put there now."""
        try:
            await self.put_async(_PROBE, _PROBED)
        except StoreAway:
            return False
        return True

    def under(self, folder: str) -> list[str]:
        """The keys that begin so."""
        with _told():
            return [found["path"] for several in obstore.list(self._objects, folder) for found in several]

    def delete(self, keys: list[str]) -> None:
        """Delete what is there of these."""
        for key in keys:
            with _told(), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._objects, key)

    def check(self) -> None:
        """Write and read once, so that a wrong address ends the start and not the first job.

        Raises:
            Unusable: it cannot be used.
        """
        try:
            obstore.put(self._objects, _PROBE, _PROBED)
            obstore.get(self._objects, _PROBE).bytes()
        except (UnauthenticatedError, PermissionDeniedError, PermissionError) as exc:
            raise Unusable(
                f"The store {self._address} refuses these credentials, or they may not write there: {_why(exc)}",
                f"存储 {self._address} 拒绝了当前凭证，或没有写入权限：{_why(exc)}",
            ) from exc
        except FileNotFoundError as exc:
            raise Unusable(
                f"The store {self._address} does not exist: make the bucket first, or correct the address.",
                f"存储 {self._address} 不存在：请先创建存储桶，或更正地址。",
            ) from exc
        except (BaseError, OSError) as exc:
            raise Unusable(
                f"The store {self._address} cannot be reached: {_why(exc)}",
                f"无法连接存储 {self._address}：{_why(exc)}",
            ) from exc


@contextlib.contextmanager
def _told(*known: type[Exception]) -> Iterator[None]:
    """Whatever goes wrong but for what is ``known`` is the store's fault."""
    try:
        yield
    except known:
        raise
    except (BaseError, OSError) as exc:
        raise StoreAway(_why(exc)) from exc


def _why(exc: Exception) -> str:
    """The first line: what follows are the insides of obstore."""
    return (str(exc).splitlines() or [""])[0]


def open_store(address: str) -> Store:
    """``address``: a folder, or an address of obstore's; credentials come from the environment, as its own tools do.

    Raises:
        Unusable: it is no such address.
    """
    if "://" in address:
        plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        options: ClientConfig = {"allow_http": plain, "connect_timeout": _CONNECT, "timeout": _WHOLE}
        try:
            return Store(from_url(address, client_options=options, retry_config=_RETRY), address)
        except (BaseError, ValueError) as exc:
            raise Unusable(
                f"The store {address} is no address of a store: {_why(exc)}", f"{address} 不是存储地址：{_why(exc)}"
            ) from exc
    folder = Path(address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Unusable(
            f"The store {folder} cannot be used: {exc.strerror}.", f"无法使用存储 {folder}：{exc.strerror}。"
        ) from exc
    return Store(LocalStore(folder, automatic_cleanup=True), address, Folder(folder))


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

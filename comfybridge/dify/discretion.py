"""What people who chat may read of an error: all but where the servers are. The log and the credential form tell."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from comfybridge import credentials
from comfybridge.errors import ComfyError, InvalidInput, Unavailable


def discreet(error: ComfyError, values: Mapping[str, Any]) -> tuple[str, str]:
    """The error's English and Chinese sentences, with the names of the fields in place of the addresses in them.

    ``values`` are the credentials as they were typed.
    """
    english, chinese = str(error), error.zh
    # The longest first: one address may begin another.
    for address, name_en, name_zh in sorted(_names(error, values), key=lambda each: -len(each[0])):
        english, chinese = english.replace(address, name_en), chinese.replace(address, name_zh)
    return english, chinese


def _names(error: ComfyError, values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    servers = _servers(values)
    for number, server in enumerate(servers, start=1):
        if len(servers) == 1:
            yield server, "base_url", "base_url"
        else:
            yield server, f"server {number} of base_url", f"base_url 的第 {number} 个服务器"
    if host := _host(str(values.get("fallback_url") or "")):
        yield host, "fallback_url", "fallback_url"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Unavailable) and cause.leads_to:
            yield cause.leads_to, "another address", "其他地址"
        cause = cause.__cause__


def _servers(values: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        # Alone, since it may be another field that cannot be read.
        return credentials.read({"base_url": values.get("base_url")}).base_urls
    except InvalidInput:
        return ()  # such an address is in no sentence, and nothing was asked


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""

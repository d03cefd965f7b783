"""What an operator types into Dify's credential form, as values. Pure; no secret is ever in an error's text."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from comfybridge.errors import InvalidInput

MAX_PROMPT_LENGTH = 8000
"""Characters; what the credential ``max_prompt_length`` says when it is empty."""

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%\w+)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110."""
_SEPARATOR = re.compile(r"\s\|(?:\s|$)|[\r\n]")
_FOR_ONE = re.compile(r"(?:(https?)://)?([^\s=/:\[\]]+|\[[^\s=/\[\]]+\])(?::(\d{1,5}))?(/[^\s=]*)?", re.IGNORECASE)
"""The server that a header is for: a host, with its port, path and scheme as far as they are needed to tell it."""
_ENTRY_FOR_ONE = re.compile(rf"({_FOR_ONE.pattern})\s*=\s*(?P<header>{_HEADER_NAME.pattern}\s*:.*)", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Addresses without a trailing slash; ``headers`` hold the Bearer token too. ``repr`` shows no secret.

    ``servers`` are the addresses, each with all the headers that go there, its own ones included.
    """

    base_urls: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    servers: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    image_base_url: str | None
    comfy_org_api_key: str | None
    max_prompt_length: int

    def __repr__(self) -> str:
        return f"Credentials(base_urls={self.base_urls})"


def read(values: Mapping[str, Any]) -> Credentials:
    """Raises InvalidInput with a sentence that names the field and says how it is written."""
    base_urls = tuple(_address("base_url", part) for part in _text(values, "base_url").split(",") if part.strip())
    if not base_urls:
        raise InvalidInput(
            "base_url is empty: enter ComfyUI's address, for example http://192.168.1.5:8188.",
            "base_url 为空：请填写 ComfyUI 地址，例如 http://192.168.1.5:8188。",
        )
    image_base_url = _text(values, "image_base_url")
    if image_base_url and len(base_urls) > 1:
        raise InvalidInput(
            "image_base_url works with one server only: leave it empty, or keep one address in base_url.",
            "image_base_url 只支持单个服务器：请留空，或在 base_url 中只保留一个地址。",
        )
    common, own = _headers(_text(values, "headers"), base_urls)
    headers: dict[str, str] = {}
    if api_key := _text(values, "api_key"):
        _refuse_unsendable("api_key", api_key)
        headers["Authorization"] = f"Bearer {api_key}"
    headers = _overridden(headers, common)
    return Credentials(
        base_urls=base_urls,
        headers=tuple(headers.items()),
        servers=tuple((url, tuple(_overridden(headers, own.get(url, {})).items())) for url in base_urls),
        image_base_url=_address("image_base_url", image_base_url) if image_base_url else None,
        comfy_org_api_key=_text(values, "comfy_org_api_key") or None,
        max_prompt_length=_length(_text(values, "max_prompt_length")),
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value).strip()


def _address(name: str, typed: str) -> str:
    address = typed.strip()
    try:
        parts = urlsplit(address)
        has_port = parts.port is None or parts.port > 0
        # As it will be looked up: no empty label, none above 63 characters; a bare IPv6 address passes as it is.
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise _bad_address(name, "is not an address", "不是有效的地址") from None
    if parts.scheme not in ("http", "https") or "://" not in address:
        raise _bad_address(name, "must begin with http:// or https://", "必须以 http:// 或 https:// 开头")
    if parts.username is not None or parts.password is not None:
        raise _bad_address(
            name,
            "must not hold a user name or password: put them into headers (Authorization: Basic …) or api_key",
            "不能包含用户名或密码：请填写到 headers（Authorization: Basic …）或 api_key 中",
        )
    if not _HOST.fullmatch(host) or not has_port or not address.isprintable() or " " in address:
        raise _bad_address(name, "has no usable host name or port", "缺少有效的主机名或端口")
    if "?" in address or "#" in address:
        raise _bad_address(name, "must end with the path: take out what follows ? or #", "不能包含 ? 或 # 之后的内容")
    return f"{parts.scheme}{address[len(parts.scheme) :]}".rstrip("/")


def _bad_address(name: str, english: str, chinese: str) -> InvalidInput:
    # The address itself is left out: it may hold a password.
    return InvalidInput(
        f"{name} {english}. Write it like http://192.168.1.5:8188.",
        f"{name} {chinese}。格式示例：http://192.168.1.5:8188。",
    )


def _overridden(headers: Mapping[str, str], by: Mapping[str, str]) -> dict[str, str]:
    """The later ones win, however they are spelled: two headers of one name would be sent as two."""
    merged = dict(headers)
    for header, value in by.items():
        merged = {name: kept for name, kept in merged.items() if name.lower() != header.lower()} | {header: value}
    return merged


def _headers(text: str, base_urls: tuple[str, ...]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The headers that go everywhere, and those of each address alone."""
    common: dict[str, str] = {}
    own: dict[str, dict[str, str]] = {}
    for where, name, value in _pairs_of_object(text) if text.startswith("{") else _pairs_of_lines(text):
        if not _HEADER_NAME.fullmatch(name):
            raise _bad_headers("a header's name has a character that none may have", "名称包含非法字符")
        _refuse_unsendable("headers", f"{name}{value}")
        if where is None:
            common[name] = value
            continue
        meant = [url for url in base_urls if _is_meant(where, url)]
        if not meant:
            # What was typed is left out: it may be half a secret.
            raise InvalidInput(
                f"headers: one is for a server that base_url does not have. Write its host, or host:port, as in"
                f" base_url: {', '.join(base_urls)}.",
                f"headers：有一项指定的服务器不在 base_url 中。请按 base_url 填写主机名或“主机:端口”："
                f"{'、'.join(base_urls)}。",
            )
        for url in meant:
            own.setdefault(url, {})[name] = value
    return common, own


def _pairs_of_object(text: str) -> Iterator[tuple[str | None, str, str]]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_headers("the JSON object cannot be read", "JSON 对象无法解析") from None
    for key, given in parsed.items():
        where, headers = (key, given) if isinstance(given, dict) else (None, {key: given})
        for name, value in headers.items():
            if not isinstance(value, (str, int, float)):
                raise _bad_headers("every value of the JSON object must be a text", "JSON 对象的值必须是文本")
            yield where, name.strip(), str(value).strip()


def _pairs_of_lines(text: str) -> Iterator[tuple[str | None, str, str]]:
    for number, line in enumerate(filter(None, map(str.strip, _SEPARATOR.split(text))), start=1):
        for_one = _ENTRY_FOR_ONE.fullmatch(line)
        where, header = (for_one[1], for_one["header"]) if for_one else (None, line)
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise _bad_headers(f"entry {number} is not 'Name: value'", f"第 {number} 项不是“Name: value”格式")
        yield where, name.strip(), value.strip()


def _is_meant(where: str, base_url: str) -> bool:
    """Whether all that is said of a server is true of the address."""
    said = _FOR_ONE.fullmatch(where.strip())
    if said is None:
        return False
    scheme, host, port, path = said.groups()
    parts = urlsplit(base_url)
    is_host = host.strip("[]").lower() == parts.hostname
    is_port = port is None or int(port) == (parts.port or _PORTS[parts.scheme])
    is_path = path is None or path.rstrip("/") in ("", parts.path)
    return is_host and is_port and is_path and (scheme is None or scheme.lower() == parts.scheme)


def _bad_headers(english: str, chinese: str) -> InvalidInput:
    return InvalidInput(
        f"headers: {english}. Write a JSON object, or 'Name: value' separated by line breaks or ' | '.",
        f"headers：{chinese}。请填写 JSON 对象，或用换行或“ | ”分隔的“Name: value”。",
    )


def _refuse_unsendable(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable():
        raise InvalidInput(
            f"{name} holds a character that HTTP headers cannot carry: use plain ASCII, without line breaks.",
            f"{name} 包含 HTTP 头无法携带的字符：请仅使用不含换行的 ASCII 字符。",
        )


def _length(text: str) -> int:
    if not text:
        return MAX_PROMPT_LENGTH
    try:
        length = int(float(text))
    except (ValueError, OverflowError):
        length = 0
    if length < 1:
        raise InvalidInput(
            "max_prompt_length must be a number of characters from 1 up; leave it empty for 8000.",
            "max_prompt_length 必须是不小于 1 的字符数；留空则为 8000。",
        )
    return length

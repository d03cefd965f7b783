"""What an operator types into Dify's credential form, as values. Pure; no secret is ever in an error's text."""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from comfybridge import moderation
from comfybridge.errors import InvalidInput
from comfybridge.moderation import BlockedWords

MAX_PROMPT_LENGTH = 8000
"""Characters; what the credential ``max_prompt_length`` says when it is empty."""

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%\w+)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110."""
_TRUE, _FALSE = ("", "true", "1", "yes", "on"), ("false", "0", "no", "off")
_SEPARATOR = re.compile(r"\s\|(?:\s|$)|[\r\n]")
_FOR_ONE = re.compile(r"(?:(https?)://)?([^\s=/:\[\]]+|\[[^\s=/\[\]]+\])(?::(\d{1,5}))?(/[^\s=]*)?", re.IGNORECASE)
"""The server that a header is for: a host, with its port, path and scheme as far as they are needed to tell it."""
_ENTRY_FOR_ONE = re.compile(rf"({_FOR_ONE.pattern})\s*=\s*(?P<header>{_HEADER_NAME.pattern}\s*:.*)", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "http://192.168.1.5:8188"
_SIZE = re.compile(r"(\d{2,5})\s*[xX×*]\s*(\d{2,5})")
_MEGA = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A service with OpenAI's Images API. ``sizes`` are what its model paints; ``None`` where nobody said so.

    Of none at all, no size is asked for. ``repr`` shows no secret.
    """

    url: str
    api_key: str | None
    model: str
    sizes: tuple[tuple[int, int], ...] | None

    def __repr__(self) -> str:
        return f"Fallback(url={self.url!r}, model={self.model!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One ComfyUI and the way in. The address has no trailing slash and no secret, and ``repr`` shows only that."""

    base_url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: str = field(default="", repr=False)
    """``token=abc``, to go with every request."""
    verify_tls: bool = field(default=True, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """``headers`` hold the Bearer token too; a server's own are all that go there, the login of its address among them.
    ``repr`` shows no secret.

    ``max_pixels`` and ``max_jobs_per_user`` are ``None`` where there is no limit.
    """

    servers: tuple[Server, ...]
    headers: tuple[tuple[str, str], ...]
    image_base_url: str | None
    comfy_org_api_key: str | None
    max_prompt_length: int
    blocked_words: BlockedWords
    max_pixels: int | None
    max_jobs_per_user: int | None
    fallback: Fallback | None

    @property
    def base_urls(self) -> tuple[str, ...]:
        return tuple(server.base_url for server in self.servers)

    def __repr__(self) -> str:
        return f"Credentials(base_urls={self.base_urls})"


def read(values: Mapping[str, Any]) -> Credentials:
    """Raises InvalidInput with a sentence that names the field and says how it is written."""
    typed = [part for part in _text(values, "base_url").split(",") if part.strip()]
    if not typed:
        raise InvalidInput(
            "base_url is empty: enter ComfyUI's address, for example http://192.168.1.5:8188.",
            "base_url 为空：请填写 ComfyUI 地址，例如 http://192.168.1.5:8188。",
        )
    image_base_url = _text(values, "image_base_url")
    if image_base_url and len(typed) > 1:
        raise InvalidInput(
            "image_base_url works with one server only: leave it empty, or keep one address in base_url.",
            "image_base_url 只支持单个服务器：请留空，或在 base_url 中只保留一个地址。",
        )
    verify_tls = _flag(values, "verify_tls")
    servers = [_server(part, verify_tls=verify_tls) for part in typed]
    common, own = _headers(_text(values, "headers"), tuple(server.base_url for server in servers))
    headers: dict[str, str] = {}
    if api_key := _text(values, "api_key"):
        _refuse_unsendable("api_key", api_key)
        headers["Authorization"] = f"Bearer {api_key}"
    headers = _overridden(headers, common)
    return Credentials(
        servers=tuple(_with_headers(server, headers, own.get(server.base_url, {})) for server in servers),
        headers=tuple(headers.items()),
        image_base_url=_address("image_base_url", image_base_url) if image_base_url else None,
        comfy_org_api_key=_text(values, "comfy_org_api_key") or None,
        max_prompt_length=_length(_text(values, "max_prompt_length")),
        blocked_words=moderation.blocked_words(_text(values, "blocked_words")),
        max_pixels=_pixels(_text(values, "max_pixels")),
        max_jobs_per_user=_jobs(_text(values, "max_jobs_per_user")),
        fallback=_fallback(values),
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value).strip()


def _with_headers(server: Server, common: Mapping[str, str], own: Mapping[str, str]) -> Server:
    """What is for this server alone wins, the login of its address most of all."""
    headers = _overridden(_overridden(common, own), dict(server.headers))
    return replace(server, headers=tuple(headers.items()))


def _server(typed: str, *, verify_tls: bool) -> Server:
    """``https://user:password@host/prefix?token=abc``, taken apart; of headers it has only the login."""
    address, _, query = typed.strip().partition("?")
    scheme, colon, rest = address.partition("://")
    before, slash, path = rest.partition("/")
    login, at, host = before.rpartition("@")
    if "@" in path + query:
        raise _bad_address(
            "base_url",
            _EXAMPLE,
            "has an @ that may belong to a password: write / as %2F and @ as %40 in passwords and tokens",
            "中的 @ 可能属于密码：密码或令牌中的 / 请写作 %2F，@ 请写作 %40",
        )
    if "#" in typed:
        raise _bad_address(
            "base_url",
            _EXAMPLE,
            "must not hold a #: write %23 where a password has one",
            "不能包含 #：密码中的 # 请写作 %23",
        )
    base_url = _address("base_url", f"{scheme}{colon}{host}{slash}{path}")
    if not query.isascii() or not query.isprintable() or " " in query:
        raise _bad_address(
            "base_url",
            _EXAMPLE,
            "holds a character that no address has: percent-encode it",
            "含有地址中不允许的字符：请用百分号编码",
        )
    headers: tuple[tuple[str, str], ...] = ()
    if at:
        user, _, password = login.partition(":")
        encoded = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        headers = (("Authorization", f"Basic {encoded}"),)
    return Server(base_url=base_url, headers=headers, query=query, verify_tls=verify_tls)


def _address(name: str, typed: str, example: str = _EXAMPLE) -> str:
    address = typed.strip()
    try:
        parts = urlsplit(address)
        has_port = parts.port is None or parts.port > 0
        # As it will be looked up: no empty label, none above 63 characters; a bare IPv6 address passes as it is.
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise _bad_address(name, example, "is not an address", "不是有效的地址") from None
    if parts.scheme not in ("http", "https") or "://" not in address:
        raise _bad_address(name, example, "must begin with http:// or https://", "必须以 http:// 或 https:// 开头")
    if parts.username is not None or parts.password is not None:
        raise _bad_address(
            name,
            example,
            "must not hold a user name or password: whoever gets a link would get them",
            "不能包含用户名或密码：拿到链接的人都会看到",
        )
    if not _HOST.fullmatch(host) or not has_port or not address.isprintable() or " " in address:
        raise _bad_address(name, example, "has no usable host name or port", "缺少有效的主机名或端口")
    if "?" in address or "#" in address:
        raise _bad_address(
            name, example, "must end with the path: take out what follows ? or #", "不能包含 ? 或 # 之后的内容"
        )
    return f"{parts.scheme}{address[len(parts.scheme) :]}".rstrip("/")


def _bad_address(name: str, example: str, english: str, chinese: str) -> InvalidInput:
    # The address itself is left out: it may hold a password.
    return InvalidInput(
        f"{name} {english}. Write it like {example}.",
        f"{name} {chinese}。格式示例：{example}。",
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


def _flag(values: Mapping[str, Any], name: str) -> bool:
    text = _text(values, name).lower()
    if text not in _TRUE + _FALSE:
        raise InvalidInput(f"{name} must be true or false.", f"{name} 必须是 true 或 false。")
    return text in _TRUE


def _length(text: str) -> int:
    if not text:
        return MAX_PROMPT_LENGTH
    length = int(_number(text))
    if length < 1:
        raise InvalidInput(
            "max_prompt_length must be a number of characters from 1 up; leave it empty for 8000.",
            "max_prompt_length 必须是不小于 1 的字符数；留空则为 8000。",
        )
    return length


def _pixels(text: str) -> int | None:
    if not text:
        return None
    pixels = round(_number(text) * _MEGA)
    if pixels < 1:
        raise InvalidInput(
            "max_pixels must be a number of megapixels above 0, such as 4; leave it empty for no limit.",
            "max_pixels 必须是大于 0 的百万像素数，例如 4；留空则不限制。",
        )
    return pixels


def _jobs(text: str) -> int | None:
    if not text:
        return None
    jobs = int(_number(text))
    if jobs < 1:
        raise InvalidInput(
            "max_jobs_per_user must be a whole number from 1 up; leave it empty for no limit.",
            "max_jobs_per_user 必须是不小于 1 的整数；留空则不限制。",
        )
    return jobs


def _number(text: str) -> float:
    """The number; 0, which none of the fields may be, for what is none."""
    try:
        number = float(text)
    except ValueError:
        return 0
    return number if math.isfinite(number) else 0


def _fallback(values: Mapping[str, Any]) -> Fallback | None:
    url, model = _text(values, "fallback_url"), _text(values, "fallback_model")
    key, sizes = _text(values, "fallback_api_key"), _text(values, "fallback_sizes")
    if not url and not model:
        # A key that is left behind does nothing.
        return None
    if not url or not model:
        raise InvalidInput(
            "fallback_url and fallback_model go together: fill in both, or neither.",
            "fallback_url 和 fallback_model 必须同时填写，或都留空。",
        )
    _refuse_unsendable("fallback_api_key", key)
    return Fallback(
        url=_address("fallback_url", url, "https://api.openai.com/v1"),
        api_key=key or None,
        model=model,
        sizes=_sizes(sizes),
    )


def _sizes(text: str) -> tuple[tuple[int, int], ...] | None:
    if not text:
        return None
    if text.lower() == "none":
        return ()
    found = [_SIZE.fullmatch(part.strip()) for part in re.split(r"[,，;；\n]", text) if part.strip()]
    if not found or not all(found):
        raise InvalidInput(
            "fallback_sizes must be sizes such as 1024x1024, 1536x1024, or none; leave it empty for the usual ones.",
            "fallback_sizes 应为尺寸列表，例如 1024x1024, 1536x1024，或 none；留空则使用常见尺寸。",
        )
    return tuple((int(size[1]), int(size[2])) for size in found if size)

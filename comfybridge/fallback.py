"""Pictures from a service with OpenAI's Images API, for calls that no ComfyUI took."""

import base64
import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from comfybridge.advice import Fault
from comfybridge.credentials import Fallback
from comfybridge.deadline import Deadline
from comfybridge.downloads import download
from comfybridge.errors import InvalidInput, NoServer
from comfybridge.filling import Inputs
from comfybridge.media import media_type
from comfybridge.transport import Answer, NoAnswerError, TooLargeError, Transport

logger = logging.getLogger(__name__)

_ROUTE = "/images/generations"
_LONGEST_REASON = 200
_SIZES = {
    "dall-e-2": ((1024, 1024), (512, 512), (256, 256)),
    "dall-e-3": ((1024, 1024), (1792, 1024), (1024, 1792)),
    "": ((1024, 1024), (1536, 1024), (1024, 1536)),
}
"""By the beginning of a model's name; the last are those of gpt-image."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One finished picture."""

    filename: str
    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Drawn:
    """All pictures are there."""

    model: str
    seconds: float
    prompt: str = ""


class _UnhelpfulError(Exception):
    """The service made no picture; the clauses, English and Chinese, say why."""

    def __init__(self, english: str, chinese: str) -> None:
        super().__init__(english)
        self.english = english
        self.chinese = chinese


def draw(
    service: Fallback, inputs: Inputs, deadline: Deadline, *, most_pixels: int | None, cause: NoServer
) -> Iterator[Picture | Drawn]:
    """Make the pictures that were asked for, of the prompt, the count and about the aspect; nothing else is heeded.

    Raises:
        NoServer: the service does not help either; ``cause``, why ComfyUI does not, comes first.
    """
    started = time.monotonic()
    logger.warning("%s Asking the fallback %s.", cause, service.model)
    try:
        pictures = _pictures(service, inputs, deadline, most_pixels)
    except _UnhelpfulError as exc:
        host = urlsplit(service.url).netloc
        logger.info("fallback %s failed after %.1f s", service.model, time.monotonic() - started)
        raise NoServer(
            f"{cause} The fallback {service.model} at {host} {exc.english}.",
            f"{cause.zh}备用服务 {service.model}（{host}）{exc.chinese}。",
            server=cause.server or "",
        ) from cause
    yield from pictures
    seconds = time.monotonic() - started
    yield Drawn(service.model, seconds, inputs.positive or "")
    logger.info("fallback %s succeeded in %.1f s", service.model, seconds)


def size(service: Fallback, inputs: Inputs, most_pixels: int | None) -> tuple[int, int] | None:
    """The service's size that is nearest to what is wanted; ``None`` where it is asked for none.

    Raises:
        _UnhelpfulError: none of its sizes is within ``most_pixels``.
    """
    sizes = service.sizes
    if sizes is None:
        sizes = next(known for name, known in _SIZES.items() if service.model.startswith(name))
    if not sizes:
        return None
    count = inputs.count or 1
    allowed = [side for side in sizes if most_pixels is None or count * math.prod(side) <= most_pixels]
    if not allowed:
        raise _UnhelpfulError(
            "has no size within max_pixels for this count", "没有在 max_pixels 限制内且满足该数量的尺寸"
        )
    wide, high = (inputs.width, inputs.height) if inputs.width and inputs.height else inputs.aspect or (1, 1)
    # An aspect alone has the largest size of its shape.
    pixels = wide * high if inputs.width and inputs.height else max(map(math.prod, allowed))

    def distance(side: tuple[int, int]) -> tuple[float, int]:
        return round(abs(math.log(side[0] * high / side[1] / wide)), 6), abs(math.prod(side) - pixels)

    return min(allowed, key=distance)


def _pictures(service: Fallback, inputs: Inputs, deadline: Deadline, most_pixels: int | None) -> list[Picture]:
    wanted = size(service, inputs, most_pixels)
    body: dict[str, Any] = {"model": service.model, "prompt": inputs.positive, "n": inputs.count or 1}
    if wanted is not None:
        body["size"] = "{}x{}".format(*wanted)
    if not service.model.startswith("gpt-image"):
        body["response_format"] = "b64_json"
    answer = _asked(service, body, deadline)
    if answer.status == HTTPStatus.BAD_REQUEST and b"response_format" in answer.body:
        # Some services know only one format and refuse to be asked for any; both are read.
        body.pop("response_format", None)
        answer = _asked(service, body, deadline)
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise _refusal(service, answer)
    return [_picture(service, entry, number, deadline) for number, entry in enumerate(_entries(answer.body), start=1)]


def _asked(service: Fallback, body: Mapping[str, Any], deadline: Deadline) -> Answer:
    headers = {"Authorization": f"Bearer {service.api_key}"} if service.api_key else {}
    data = json.dumps(body, ensure_ascii=False).encode()
    with contextlib.closing(Transport(service.url, headers, is_patient=True)) as http:
        try:
            # Each picture is paid for: nothing is asked twice.
            return http.request("POST", _ROUTE, deadline, data=data, is_repeatable=False)
        except NoAnswerError as exc:
            raise _unanswered(exc.fault) from exc
        except TooLargeError as exc:
            raise _UnhelpfulError("gave an answer that is too large", "应答过大") from exc


def _unanswered(fault: Fault) -> _UnhelpfulError:
    if fault is Fault.SILENT:
        return _UnhelpfulError("did not answer in time", "未在规定时间内应答")
    if fault is Fault.DROPPED:
        return _UnhelpfulError("dropped the connection", "断开了连接")
    return _UnhelpfulError("cannot be reached: check fallback_url", "无法连接，请检查 fallback_url")


def _refusal(service: Fallback, answer: Answer) -> _UnhelpfulError:
    status = answer.status
    match status:
        case 401 | 403:
            english = "does not let us in (HTTP {}): check fallback_api_key"
            chinese = "拒绝访问（HTTP {}），请检查 fallback_api_key"
        case 404:
            english = (
                "knows no such model or address (HTTP {}): check fallback_model, and that fallback_url ends like /v1"
            )
            chinese = "没有该模型或地址（HTTP {}），请检查 fallback_model，以及 fallback_url 是否以 /v1 结尾"
        case 429:
            english = "is asked too often, or its credit is used up (HTTP {})"
            chinese = "请求过于频繁或余额不足（HTTP {}）"
        case 400 if reason := _reason(service, answer.body):
            return _UnhelpfulError(f"refused the request: {reason}", f"拒绝了请求：{reason}")
        case _:
            english, chinese = "answered with HTTP {}", "返回 HTTP {}"
    return _UnhelpfulError(english.format(status), chinese.format(status))


def _reason(service: Fallback, body: bytes) -> str:
    """What the service says of a request that it refuses, in one line and without the key."""
    try:
        reason = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    if service.api_key:
        reason = str(reason).replace(service.api_key, "…")
    return " ".join(str(reason).split())[:_LONGEST_REASON].rstrip(".")


def _entries(body: bytes) -> list[Mapping[str, Any]]:
    try:
        entries = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise _UnhelpfulError("gave an answer without pictures", "的应答中没有图片")
    return entries


def _picture(service: Fallback, entry: Mapping[str, Any], number: int, deadline: Deadline) -> Picture:
    try:
        if entry.get("b64_json"):
            # Some write it as a data URL, or in lines.
            encoded = "".join(str(entry["b64_json"]).rpartition(",")[2].split())
            data = base64.b64decode(encoded, validate=True)
        else:
            # Whoever serves it on its own address is trusted with that, private or not.
            data = download(str(entry.get("url")), deadline, trusted_hosts=(urlsplit(service.url).netloc,)).data
    except ValueError as exc:
        raise _UnhelpfulError("gave a picture that cannot be decoded", "返回的图片无法解码") from exc
    except InvalidInput as exc:
        raise _UnhelpfulError("gave the address of a picture that cannot be fetched", "返回的图片地址无法下载") from exc
    media = media_type(data)
    if media is None or media.kind != "image":
        raise _UnhelpfulError("gave something that is no whole picture", "返回的不是完整的图片")
    return Picture(f"picture-{number}{media.extension}", media.mime, data)

"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web

from comfybridge.errors import ComfyError

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

BASES = ("/v1/", "/api/v1/", "/comfybridge/images", "/api/comfybridge/images")
"""The paths at which every error has this shape, whoever makes it."""

_SERVER_ERROR = 500
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_SENTENCES = {
    401: ("Incorrect API key provided.", "API Key 不正确。"),
    403: ("This key may not do that.", "该 API Key 没有此权限。"),
    404: ("There is nothing at this address.", "该地址不存在。"),
    405: ("This address does not take such requests.", "该地址不支持此请求方法。"),
    413: ("The request is too large.", "请求内容过大。"),
    429: ("Too many requests: try again later.", "请求过于频繁，请稍后再试。"),
    503: ("The service is busy: try again later.", "服务繁忙，请稍后再试。"),
}
_OTHERWISE = ("The request failed.", "请求失败。")


class ApiError(Exception):
    """What is told to the caller; ``param`` is the parameter that is to blame.

    ``may_retry`` is what OpenAI's own clients go by, which else send anything above 499 again: ``False`` where that
    would draw the same once more.
    """

    def __init__(
        self,
        status: int,
        en: str,
        zh: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        may_retry: bool | None = None,
    ) -> None:
        super().__init__(en)
        self.status = status
        self.zh = zh
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s
        self.may_retry = may_retry


def invalid(en: str, zh: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, en, zh, param=param, code=code)


def of(error: ComfyError, param: str | None = None) -> ApiError:
    """The caller's values cannot be used."""
    return invalid(str(error), error.zh, param=param)


def body(request: web.Request, error: ApiError) -> dict[str, Any]:
    """What is told, in the language that the request asks for."""
    default = "server_error" if error.status >= _SERVER_ERROR else "invalid_request_error"
    is_chinese = request.headers.get("Accept-Language", "").strip().lower().startswith("zh")
    return {
        "message": error.zh if is_chinese else str(error),
        "type": _TYPES.get(error.status, default),
        "param": error.param,
        "code": error.code,
    }


@web.middleware
async def shaped(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error its shape, those of other parts of the gateway, too."""
    if not request.path.startswith(BASES):
        return await handler(request)
    try:
        answer = await handler(request)
    except ApiError as exc:
        return _response(request, exc)
    except web.HTTPException as exc:
        answer = exc
    if answer.status < 400 or not isinstance(answer, web.Response):  # noqa: PLR2004
        return answer
    said = _said(answer)
    if said is not None and "param" in said:
        return answer
    retry_after = answer.headers.get("Retry-After", "")
    english, chinese = _SENTENCES.get(answer.status, _OTHERWISE)
    message = said.get("message") if said is not None else None
    error = ApiError(
        answer.status,
        str(message or english),
        str(message or chinese),
        code=_CODES.get(answer.status),
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
    )
    return _response(request, error)


def _response(request: web.Request, error: ApiError) -> web.Response:
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.may_retry is not None:
        headers["x-should-retry"] = str(error.may_retry).lower()
    return web.json_response({"error": body(request, error)}, status=error.status, headers=headers)


def _said(answer: web.Response) -> Mapping[str, Any] | None:
    """The error that another part of the gateway put into words."""
    try:
        told = json.loads(answer.text or "") if answer.content_type == "application/json" else None
    except ValueError:
        return None
    error = told.get("error") if isinstance(told, dict) else None
    return error if isinstance(error, dict) else None

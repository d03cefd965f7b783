"""Why a server cannot be used, and what to do about it, as errors with sentences for people. Pure."""

import enum
import re
from urllib.parse import urlsplit

from comfybridge.errors import Unavailable

OLDEST = (0, 3, 45)
"""The first ComfyUI that runs a job under the id that it is given."""

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0"))  # noqa: S104  # compared with, never bound
# Of a server, or a proxy before it, that is overloaded or restarts.
_MAY_PASS = (429, 500, 502, 503, 504)


class Fault(enum.Enum):
    """What kept a request from being answered."""

    REFUSED = enum.auto()
    UNKNOWN_HOST = enum.auto()
    NO_CONNECTION = enum.auto()
    TLS = enum.auto()
    SILENT = enum.auto()
    DROPPED = enum.auto()
    PROXY = enum.auto()
    MALFORMED = enum.auto()


def unreachable(server: str, fault: Fault) -> Unavailable:
    """The error for a request that got no answer."""
    english, chinese = _SENTENCES[fault]
    if fault in (Fault.REFUSED, Fault.NO_CONNECTION) and urlsplit(server).hostname in _LOOPBACK:
        english += (
            " Inside Docker this address is the container itself: use http://host.docker.internal:8188 and start"
            " ComfyUI with --listen."
        )
        chinese += (
            "在 Docker 容器内该地址指向容器自身：请改用 http://host.docker.internal:8188，并以 --listen 启动 ComfyUI。"
        )
    return Unavailable(
        f"ComfyUI at {server} {english}",
        f"ComfyUI（{server}）{chinese}",
        server=server,
        is_closed=fault is Fault.REFUSED,
        refused=fault in (Fault.REFUSED, Fault.UNKNOWN_HOST, Fault.NO_CONNECTION, Fault.TLS, Fault.PROXY),
    )


def bad_status(server: str, path: str, status: int, location: str = "") -> Unavailable:
    """The error for an HTTP status that ComfyUI does not give; ``location`` is where a redirect points to."""
    leads_to = ""
    is_denied = status in (401, 403)
    if is_denied:
        english = f"does not let us in (HTTP {status}). Check api_key, headers, and the login or token in base_url."
        chinese = f"拒绝访问（HTTP {status}）。请检查 api_key、headers，以及 base_url 中的登录信息或令牌。"
    elif status == 404:  # noqa: PLR2004
        english = (
            f"has no {path} (HTTP 404): this is no ComfyUI, or base_url lacks the path that a proxy serves it under."
        )
        chinese = f"没有 {path}（HTTP 404）：该地址不是 ComfyUI，或 base_url 缺少反向代理的路径前缀。"
    elif 300 <= status < 400:  # noqa: PLR2004
        leads_to = _origin(location)
        where = leads_to or "another page"
        english = f"redirects to {where} (HTTP {status}). Put the final address into base_url, or log in by headers."
        chinese = f"重定向到 {where}（HTTP {status}）。请在 base_url 中填写最终地址，或通过 headers 登录。"
    elif status in (502, 503, 504):
        english = f"cannot be reached through the proxy before it (HTTP {status}). Check that ComfyUI itself runs."
        chinese = f"无法通过前面的代理访问（HTTP {status}）。请确认 ComfyUI 正在运行。"
    elif status == 429:  # noqa: PLR2004
        english, chinese = "is asked too often (HTTP 429). Try again later.", "请求过于频繁（HTTP 429），请稍后再试。"
    else:
        english = f"answered {path} with HTTP {status}. See ComfyUI's own log for the cause."
        chinese = f"对 {path} 返回 HTTP {status}。原因见 ComfyUI 的日志。"
    return Unavailable(
        f"ComfyUI at {server} {english}",
        f"ComfyUI（{server}）{chinese}",
        server=server,
        may_pass=status in _MAY_PASS,
        is_denied=is_denied,
        leads_to=leads_to,
    )


def not_comfyui(server: str, path: str) -> Unavailable:
    """The error for an answer that is not what ComfyUI says at this path."""
    return Unavailable(
        f"What answers at {server}{path} is not a ComfyUI. Check the address, the port, and the path behind a proxy.",
        f"{server}{path} 的应答不是 ComfyUI。请检查地址、端口以及反向代理的路径。",
        server=server,
        may_pass=True,
    )


def is_too_old(version: str) -> bool:
    """Whether ComfyUI's own name of its version says so; a fork may name it in a way of its own."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return bool(numbers) and numbers < OLDEST


def too_old(server: str, version: str = "") -> Unavailable:
    """The error for a ComfyUI that chooses its own prompt_id."""
    found = f" {version}" if version else ""
    return Unavailable(
        f"ComfyUI{found} at {server} is too old: 0.3.45 or later is needed. Update ComfyUI.",
        f"ComfyUI{found}（{server}）版本过旧：需要 0.3.45 或更高版本，请更新 ComfyUI。",
        server=server,
    )


def _origin(location: str) -> str:
    """The part of an address that holds no secret; empty when there is none."""
    try:
        target = urlsplit(location)
    except ValueError:
        return ""
    return f"{target.scheme}://{target.hostname}" if target.hostname else ""


_SENTENCES = {
    Fault.REFUSED: (
        "refuses the connection. Check that it runs, that the port is right, and that it was started with --listen.",
        "拒绝连接。请确认它正在运行、端口正确，并以 --listen 启动。",
    ),
    Fault.UNKNOWN_HOST: (
        "cannot be found: the host name is unknown here. Check the spelling in base_url.",
        "无法找到：主机名无法解析，请检查 base_url。",
    ),
    Fault.NO_CONNECTION: (
        "cannot be reached. Check the address, the firewall, and that it was started with --listen.",
        "无法连接。请检查地址和防火墙，并确认以 --listen 启动。",
    ),
    Fault.TLS: (
        (
            "failed the TLS handshake. If it speaks plain HTTP, write http:// in base_url; if its certificate is from"
            " a private authority, set REQUESTS_CA_BUNDLE where the plugin runs, or switch verify_tls off."
        ),
        (
            "TLS 握手失败。若服务器只支持 HTTP，请在 base_url 中使用 http://；"
            "若使用私有证书，请在插件运行环境设置 REQUESTS_CA_BUNDLE，或关闭 verify_tls。"
        ),
    ),
    Fault.SILENT: (
        "took the connection but does not answer. It may be frozen or overloaded: look at its console.",
        "已建立连接但没有应答，可能卡死或过载：请查看其控制台。",
    ),
    Fault.DROPPED: (
        "dropped the connection before the answer was complete. Look at its console, and at the proxy before it.",
        "在应答完成前断开了连接。请查看其控制台以及前面的代理。",
    ),
    Fault.PROXY: (
        "cannot be reached through the proxy that the environment sets. List its host in NO_PROXY.",
        "无法通过环境变量设置的代理访问。请将其主机加入 NO_PROXY。",
    ),
    Fault.MALFORMED: (
        "cannot be asked: base_url is not a usable address. Write it like http://192.168.1.5:8188.",
        "无法访问：base_url 不是有效地址。格式示例：http://192.168.1.5:8188。",
    ),
}

"""Why a file that somebody names by its address cannot be fetched, in sentences for people. Pure."""

import enum

from comfybridge.advice import Fault
from comfybridge.errors import InvalidInput


class Refusal(enum.Enum):
    """What is wrong with an address, or with what answers there."""

    SCHEME = enum.auto()
    RELATIVE = enum.auto()
    CREDENTIALS = enum.auto()
    MALFORMED = enum.auto()
    PRIVATE = enum.auto()
    DOWNGRADE = enum.auto()
    REDIRECTS = enum.auto()
    FORBIDDEN = enum.auto()
    MISSING = enum.auto()
    STATUS = enum.auto()
    PAGE = enum.auto()
    LARGE = enum.auto()
    EMPTY = enum.auto()


def refused(
    why: Refusal | Fault, origin: str = "", *, is_dify: bool = False, status: int = 0, largest: int = 0
) -> InvalidInput:
    """The error for a file; ``origin`` is all of its address that may be shown, empty when nothing of it may.

    ``is_dify`` tells that Dify itself was to give the file: then nothing of the address is shown, it may be internal.
    """
    shown_en, shown_zh = _STORE if is_dify else (origin, origin)
    if is_dify and why in _DIFY:
        english, chinese = _DIFY[why]
    else:
        english, chinese = _SENTENCES[why]
        if is_dify and why in _UNREACHED:
            english, chinese = f"{english} {_SETTING[0]}", f"{chinese}{_SETTING[1]}"
    size = f"{largest / 1024 / 1024:.3g} MiB"
    return InvalidInput(
        english.format(origin=shown_en, status=status, size=size),
        chinese.format(origin=shown_zh, status=status, size=size),
    )


_STORE = ("Dify's file store", "Dify 的文件服务")
_SETTING = (
    (
        "This is Dify's own file store: set INTERNAL_FILES_URL in Dify's .env to an address that the plugin reaches,"
        " such as http://api:5001 (FILES_URL counts where it is empty), and restart Dify."
    ),
    (
        "这是 Dify 自己的文件服务：请在 Dify 的 .env 中将 INTERNAL_FILES_URL 设为插件可以访问的地址，"
        "例如 http://api:5001（为空时使用 FILES_URL），然后重启 Dify。"
    ),
)
_EXPIRED = (
    (
        "Dify's link to the file has expired or is not valid (HTTP {status}): upload the file again and run again soon"
        " after. FILES_ACCESS_TIMEOUT in Dify's .env says how many seconds a link lives."
    ),
    (
        "Dify 的文件链接已过期或无效（HTTP {status}）：请重新上传文件并尽快运行。"
        "链接的有效秒数由 Dify 的 .env 中的 FILES_ACCESS_TIMEOUT 决定。"
    ),
)
_DIFY: dict[Refusal | Fault, tuple[str, str]] = {
    Refusal.RELATIVE: (
        (
            "Dify gave the file without a host: set FILES_URL in Dify's .env to Dify's own address, and"
            " INTERNAL_FILES_URL to one that the plugin reaches, such as http://api:5001. Then restart Dify."
        ),
        (
            "Dify 给出的文件地址没有主机名：请在 Dify 的 .env 中将 FILES_URL 设为 Dify 的访问地址，"
            "将 INTERNAL_FILES_URL 设为插件可以访问的地址，例如 http://api:5001，然后重启 Dify。"
        ),
    ),
    Refusal.FORBIDDEN: _EXPIRED,
    Refusal.MISSING: _EXPIRED,
    Refusal.EMPTY: ("The attached file is empty: upload it again.", "上传的文件为空：请重新上传。"),
    Refusal.LARGE: (
        "The attached file is larger than {size}. Make it smaller.",
        "上传的文件超过 {size}，请缩小后再试。",
    ),
}
_UNREACHED = frozenset(
    (
        Fault.REFUSED,
        Fault.UNKNOWN_HOST,
        Fault.NO_CONNECTION,
        Fault.TLS,
        Fault.SILENT,
        Fault.DROPPED,
        Refusal.PRIVATE,
        Refusal.DOWNGRADE,
        Refusal.REDIRECTS,
        Refusal.STATUS,
        Refusal.PAGE,
    )
)
_UNUSABLE = (
    "The file's address cannot be used. Write it like https://example.com/picture.png.",
    "文件地址无法使用。格式示例：https://example.com/picture.png。",
)
_SENTENCES: dict[Refusal | Fault, tuple[str, str]] = {
    Refusal.SCHEME: (
        "The file's address must begin with http:// or https://. Upload the file if it is not on the web.",
        "文件地址必须以 http:// 或 https:// 开头。如果文件不在网上，请直接上传。",
    ),
    Refusal.RELATIVE: (
        "The file's address must begin with http:// or https://, and name a host.",
        "文件地址必须以 http:// 或 https:// 开头，并包含主机名。",
    ),
    Refusal.CREDENTIALS: (
        "The file's address must not hold a user name or password. Give a public or signed link, or upload the file.",
        "文件地址不能包含用户名或密码。请提供公开或带签名的链接，或直接上传文件。",
    ),
    Refusal.MALFORMED: _UNUSABLE,
    Fault.MALFORMED: _UNUSABLE,
    Refusal.PRIVATE: (
        (
            "The file at {origin} is not fetched: this is no public address of the internet. Give a public link, or"
            " upload the file."
        ),
        "不会读取 {origin} 的文件：该地址不是公网地址。请提供公开链接，或直接上传文件。",
    ),
    Refusal.DOWNGRADE: (
        "The file at {origin} is redirected from https to http. Give the address that it ends at, or upload the file.",
        "{origin} 的文件被从 https 重定向到 http。请提供最终地址，或直接上传文件。",
    ),
    Refusal.REDIRECTS: (
        (
            "The file at {origin} is redirected too often, or to no usable address. Give the address that it ends at,"
            " or upload the file."
        ),
        "{origin} 的文件重定向次数过多，或目标地址无效。请提供最终地址，或直接上传文件。",
    ),
    Refusal.FORBIDDEN: (
        (
            "The file at {origin} is not open to us, or its link has expired (HTTP {status}). Give a public or fresh"
            " link, or upload the file."
        ),
        "{origin} 的文件无权访问，或链接已过期（HTTP {status}）。请提供公开或新的链接，或直接上传文件。",
    ),
    Refusal.MISSING: (
        "There is no file at this address of {origin} (HTTP {status}). Check the link, or upload the file.",
        "{origin} 的该地址没有文件（HTTP {status}）。请检查链接，或直接上传文件。",
    ),
    Refusal.STATUS: (
        "{origin} answered with HTTP {status} instead of the file. Try again later, or upload the file.",
        "{origin} 返回 HTTP {status}，而不是文件。请稍后再试，或直接上传文件。",
    ),
    Refusal.PAGE: (
        "{origin} gave a web page instead of a file. Give the link of the file itself, or upload the file.",
        "{origin} 返回的是网页而不是文件。请提供文件本身的链接，或直接上传文件。",
    ),
    Refusal.LARGE: (
        "The file at {origin} is larger than {size}. Make it smaller.",
        "{origin} 的文件超过 {size}，请缩小后再试。",
    ),
    Refusal.EMPTY: (
        "The file at {origin} is empty. Check the link, or upload the file.",
        "{origin} 的文件为空。请检查链接，或直接上传文件。",
    ),
    Fault.REFUSED: (
        "The file cannot be fetched: {origin} refuses the connection. Check the host and the port.",
        "无法读取文件：{origin} 拒绝连接。请检查主机和端口。",
    ),
    Fault.UNKNOWN_HOST: (
        "The file cannot be fetched: the host of {origin} is unknown here. Check the spelling.",
        "无法读取文件：{origin} 的主机名无法解析，请检查拼写。",
    ),
    Fault.NO_CONNECTION: (
        "The file cannot be fetched: {origin} cannot be reached from here. Check the link, or upload the file.",
        "无法读取文件：无法连接 {origin}。请检查链接，或直接上传文件。",
    ),
    Fault.TLS: (
        (
            "The file cannot be fetched: the TLS handshake with {origin} failed. If its certificate is from a private"
            " authority, set REQUESTS_CA_BUNDLE where the plugin runs."
        ),
        "无法读取文件：与 {origin} 的 TLS 握手失败。若使用私有证书，请在插件运行环境设置 REQUESTS_CA_BUNDLE。",
    ),
    Fault.SILENT: (
        "The file at {origin} did not arrive in time. Try again, or use a smaller file or a faster host.",
        "{origin} 的文件未能及时传完。请重试，或使用更小的文件或更快的主机。",
    ),
    Fault.DROPPED: (
        "{origin} dropped the connection before the file was complete. Try again, or upload the file.",
        "{origin} 在文件传完之前断开了连接。请重试，或直接上传文件。",
    ),
    Fault.PROXY: (
        (
            "The file at {origin} cannot be fetched through the proxy that the environment sets. Check the proxy, or"
            " list the host in NO_PROXY."
        ),
        "无法通过环境变量设置的代理读取 {origin} 的文件。请检查代理，或将其主机加入 NO_PROXY。",
    ),
}

"""The way to a server: proxy, name, port, TLS."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from comfybridge import advice
from comfybridge.addresses import is_public
from comfybridge.addresses import read as read_address
from comfybridge.advice import Fault
from comfybridge.connections import certificates, proxy_for
from comfybridge.credentials import Server
from comfybridge.diagnosis.findings import Finding, fail, failed, ok, skipped, warn

_MOST_S = 5.0
_BY_PROXY = ("the proxy does it", "由代理完成")
# OpenSSL's verify codes (x509_vfy.h).
_NOT_YET, _EXPIRED = 9, 10
_SELF_SIGNED = (18, 19)
_OTHER_NAME = (62, 64)


def examine(server: Server, patience_s: float) -> Iterator[Finding]:
    """The checks up to the first that fails."""
    patience_s = min(_MOST_S, patience_s)
    parts = urlsplit(server.base_url)
    host, is_tls = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    if proxy := proxy_for(server.base_url):
        yield _proxied(proxy, server.base_url, host)
        yield skipped("dns", *_BY_PROXY)
        yield skipped("port", *_BY_PROXY)
        yield skipped("tls", *_BY_PROXY) if is_tls else _plain()
        return
    yield ok("proxy", "none", "无")
    found = _resolved(host, port, patience_s)
    if not found:
        yield failed("dns", advice.unreachable(server.base_url, Fault.UNKNOWN_HOST))
        return
    yield ok("dns", ", ".join(found), "、".join(found))
    finding = _port(server.base_url, host, port, patience_s)
    yield finding
    if finding.state == "fail":
        return
    yield _tls(server, host, port, patience_s) if is_tls else _plain()


def speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS handshake begins there, whatever the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _shake_hands(context, host, port, _MOST_S)
    except OSError:
        return False
    return True


def _speaks_plainly(host: str, port: int, patience_s: float) -> bool:
    try:
        with socket.create_connection((host, port), patience_s) as plain:
            plain.sendall(f"GET /system_stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return plain.recv(5) == b"HTTP/"
    except OSError:
        return False


def _proxied(proxy: str, base_url: str, host: str) -> Finding:
    shown = urlsplit(proxy if "://" in proxy else f"http://{proxy}").hostname or "?"
    said = (
        f"Requests go through the proxy {shown}, which the environment sets.",
        f"请求经过环境变量设置的代理 {shown}。",
    )
    ip = read_address(base_url).ip
    if host == "localhost" or "." not in host or (ip is not None and not is_public(ip)):
        fix = (
            f"The server is in your own network: list it in NO_PROXY, as in NO_PROXY={host}.",
            f"服务器在内网：请将其加入 NO_PROXY，例如 NO_PROXY={host}。",
        )
        return warn("proxy", said, fix)
    return ok("proxy", *said)


def _plain() -> Finding:
    return skipped("tls", "not used (http)", "未使用（http）")


def _resolved(host: str, port: int, patience_s: float) -> list[str]:
    found: list[str] = []

    def resolve() -> None:
        try:
            found.extend(
                dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            )
        except OSError:
            return

    # The resolver has a patience of its own, which nothing can cut short.
    resolving = threading.Thread(target=resolve, name="resolve", daemon=True)
    resolving.start()
    resolving.join(patience_s)
    return found


def _port(base_url: str, host: str, port: int, patience_s: float) -> Finding:
    try:
        socket.create_connection((host, port), patience_s).close()
    except ConnectionRefusedError:
        return failed("port", advice.unreachable(base_url, Fault.REFUSED))
    except TimeoutError:
        return fail(
            "port",
            (f"Port {port} does not answer at all.", f"端口 {port} 没有任何响应。"),
            (
                "A firewall drops the packets, or the machine is off: check both, and start ComfyUI with --listen.",
                "可能被防火墙丢弃，或主机未开机：请检查，并以 --listen 启动 ComfyUI。",
            ),
        )
    except OSError:
        return failed("port", advice.unreachable(base_url, Fault.NO_CONNECTION))
    return ok("port", f"{port} is open", f"{port} 可连接")


def _tls(server: Server, host: str, port: int, patience_s: float) -> Finding:
    where = certificates()
    is_folder = Path(where).is_dir()
    context = ssl.create_default_context(cafile=None if is_folder else where, capath=where if is_folder else None)
    if not server.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        _shake_hands(context, host, port, patience_s)
    except ssl.SSLCertVerificationError as exc:
        return _untrusted(exc, host)
    except OSError:
        if _speaks_plainly(host, port, patience_s):
            return fail(
                "tls",
                (f"What listens on port {port} does not speak TLS.", f"端口 {port} 上的服务不支持 TLS。"),
                ("Write http:// instead of https://.", "请将 https:// 改为 http://。"),
            )
        return fail(
            "tls",
            ("The TLS handshake was broken off, or took too long.", "TLS 握手中断或超时。"),
            ("Look at the console of the proxy before ComfyUI.", "请查看 ComfyUI 前面的代理的日志。"),
        )
    if not server.verify_tls:
        return warn(
            "tls",
            ("The certificate was not looked at, as you wished.", "按要求未校验证书。"),
            ("Anybody in between can read along: use it in your own network only.", "中间人可以窃听：请仅在内网使用。"),
        )
    return ok("tls", "the certificate is trusted", "证书可信")


def _shake_hands(context: ssl.SSLContext, host: str, port: int, patience_s: float) -> None:
    with socket.create_connection((host, port), patience_s) as plain, context.wrap_socket(plain, server_hostname=host):
        pass


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> Finding:
    private = (
        "Set REQUESTS_CA_BUNDLE to a file with its authority, or do without the check (--insecure, verify_tls off).",
        "请将 REQUESTS_CA_BUNDLE 设为包含其颁发机构的文件，或关闭校验（--insecure 或关闭 verify_tls）。",
    )
    match error.verify_code:
        case code if code in (_EXPIRED, _NOT_YET):
            said = ("The certificate is expired, or not valid yet.", "证书已过期或尚未生效。")
            return fail(
                "tls", said, ("Renew it, and check the clocks of both machines.", "请更新证书，并检查两端的时钟。")
            )
        case code if code in _SELF_SIGNED:
            return fail("tls", ("The certificate is signed by itself.", "证书是自签名的。"), private)
        case code if code in _OTHER_NAME:
            said = (f"The certificate is for another name than {host}.", f"证书的域名与 {host} 不符。")
            return fail(
                "tls",
                said,
                ("Write the name that the certificate has, or get one for this.", "请使用证书中的域名，或更换证书。"),
            )
    said = (f"The certificate is not trusted: {error.verify_message}.", f"证书不受信任：{error.verify_message}。")
    return fail("tls", said, private)

"""All checks of one server, each only where those that it stands on are good."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from comfybridge import advice, credentials, library, overview
from comfybridge.advice import Fault
from comfybridge.client import Client
from comfybridge.credentials import Server
from comfybridge.deadline import Deadline
from comfybridge.diagnosis import way
from comfybridge.diagnosis.findings import NAMES, Finding, Said, fail, failed, ok, skipped, warn
from comfybridge.errors import ComfyError, InvalidInput, Unavailable
from comfybridge.events import Events, NoSocketError
from comfybridge.media import InputFile, MediaType
from comfybridge.template import Template
from comfybridge.transport import NoAnswerError, TooLargeError, Transport

PATIENCE_S = 10.0

_ASK_S, _GREETING_S = 30.0, 3.0
_GIB = 2**30
_LITTLE_MEMORY = 1.0
"""GiB; less is not enough for any model."""
_LONG_QUEUE = 20
_MOST_SHOWN = 2
_LARGEST = 1 << 20
# One grey pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a4944415478da6368000000820081da"
    "45083b0000000049454e44ae426082"
)


def examine(
    values: Mapping[str, Any], *, others: Sequence[Template] = (), writes: bool = False, patience_s: float = PATIENCE_S
) -> Iterator[Finding]:
    """Check a server from its address to its templates; what cannot be checked is ``skipped``.

    values: ``base_url``, ``api_key``, ``headers`` and ``verify_tls``, as ``credentials`` reads them.
    writes: try whether a file can be stored; it stays in the server's input folder.
    patience_s: how long each check may wait.
    """
    done = set()
    for finding in _examined(values, others, patience_s, writes=writes):
        done.add(finding.name)
        yield finding
    for name in NAMES:
        if name not in done:
            yield skipped(name)


def _examined(
    values: Mapping[str, Any], others: Sequence[Template], patience_s: float, *, writes: bool
) -> Iterator[Finding]:
    try:
        server = credentials.read(values).servers[0]
    except InvalidInput as exc:
        yield failed("address", exc)
        return
    yield ok("address", server.base_url, server.base_url)
    for finding in way.examine(server, patience_s):
        yield finding
        if finding.state == "fail":
            return
    with contextlib.closing(_transport(server, server.base_url)) as http:
        for finding in _answering(server, http, patience_s):
            yield finding
            if finding.state == "fail":
                return
    client = Client(server.base_url, dict(server.headers), query=server.query, verify_tls=server.verify_tls)
    with contextlib.closing(client):
        yield from _of_comfyui(server, client, others, patience_s, writes=writes)


def _transport(server: Server, base_url: str) -> Transport:
    return Transport(base_url, dict(server.headers), query=server.query, verify_tls=server.verify_tls)


def _answering(server: Server, http: Transport, patience_s: float) -> Iterator[Finding]:
    """Whether something answers, lets us in, and is a ComfyUI."""
    path, started = "/system_stats", time.monotonic()
    try:
        answer = http.request("GET", path, Deadline(patience_s), largest=_LARGEST)
    except NoAnswerError as exc:
        yield failed("answer", advice.unreachable(server.base_url, exc.fault), _other_scheme(server, exc.fault))
        return
    except TooLargeError:
        yield failed("answer", advice.not_comfyui(server.base_url, path))
        return
    yield ok("answer", *_both(f"HTTP {answer.status}, {(time.monotonic() - started) * 1000:.0f} ms"))
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        yield failed("access", advice.bad_status(server.base_url, path, answer.status))
        return
    yield ok("access", "we are let in", "可访问")
    if answer.status != HTTPStatus.OK:
        error = advice.bad_status(server.base_url, path, answer.status, answer.location)
    elif b"comfyui_version" in answer.body:
        yield ok("comfyui", "it is one", "是 ComfyUI")
        return
    else:
        error = advice.not_comfyui(server.base_url, path)
    yield failed("comfyui", error, _elsewhere(server, patience_s))


def _other_scheme(server: Server, fault: Fault) -> Said | None:
    parts = urlsplit(server.base_url)
    if fault is Fault.DROPPED and parts.scheme == "http" and way.speaks_tls(str(parts.hostname), parts.port or 80):
        return ("It speaks TLS: write https:// instead of http://.", "该端口使用 TLS：请将 http:// 改为 https://。")
    return None


def _elsewhere(server: Server, patience_s: float) -> Said:
    """What to write instead: the root of the same server, where that is a ComfyUI and its address has a path."""
    parts = urlsplit(server.base_url)
    root = f"{parts.scheme}://{parts.netloc}"
    whole = (
        "Write the address that opens ComfyUI in a browser, its path too.",
        "请填写在浏览器中打开 ComfyUI 的完整地址，包括路径。",
    )
    if root == server.base_url:
        return whole
    with contextlib.closing(_transport(server, root)) as http:
        try:
            answer = http.request("GET", "/system_stats", Deadline(patience_s), largest=_LARGEST)
        except (NoAnswerError, TooLargeError):
            return whole
    if b"comfyui_version" not in answer.body:
        return whole
    return (f"There is a ComfyUI at {root}: leave out the path.", f"{root} 是 ComfyUI：请去掉路径。")


def _of_comfyui(
    server: Server, client: Client, others: Sequence[Template], patience_s: float, *, writes: bool
) -> Iterator[Finding]:
    """What is to be known of a ComfyUI that answers; each by itself."""
    checks: dict[str, Callable[[], Finding]] = {
        "version": lambda: _version(client),
        "websocket": lambda: _websocket(server, patience_s),
        "device": lambda: _device(client),
        "queue": lambda: _queue(client),
        "disk": lambda: _disk(client) if writes else _not_written(),
        "models": lambda: _models(client),
        "templates": lambda: _templates(client, others),
    }
    for name, check in checks.items():
        try:
            yield check()
        except ComfyError as exc:
            yield failed(name, exc)


def _version(client: Client) -> Finding:
    version = str(client.system_stats(Deadline(_ASK_S))["system"]["comfyui_version"])
    if advice.is_too_old(version):
        return failed("version", advice.too_old(client.base_url, version))
    return ok("version", *_both(version))


def _websocket(server: Server, patience_s: float) -> Finding:
    slower: Said = (
        "Jobs still work, by asking again and again; progress is not shown. Let the proxy pass Upgrade and Connection.",
        "任务仍可通过轮询完成，但看不到进度。请让代理放行 Upgrade 和 Connection 请求头。",
    )
    headers = dict(server.headers)
    try:
        events = Events(
            server.base_url, headers, Deadline(patience_s), query=server.query, verify_tls=server.verify_tls
        )
    except NoSocketError as exc:
        said = (f"There is no WebSocket: {exc}.", f"无法建立 WebSocket：{exc}。")
        if "BadStatus" in str(exc):
            said = ("The WebSocket's handshake is refused.", "WebSocket 握手被拒绝。")
        return warn("websocket", said, slower)
    try:
        # ComfyUI greets everybody at once.
        wait_until = time.monotonic() + min(_GREETING_S, patience_s)
        while not events.last_frame and events.is_open and time.monotonic() < wait_until:
            time.sleep(0.02)
        if not events.last_frame:
            return warn(
                "websocket", ("The WebSocket opens, but says nothing.", "WebSocket 已连接，但没有消息。"), slower
            )
    finally:
        events.close()
    return ok("websocket", "works", "正常")


def _device(client: Client) -> Finding:
    stats = client.system_stats(Deadline(_ASK_S))
    devices = [each for each in stats.get("devices") or () if isinstance(each, Mapping)]
    if not devices or all(each.get("type") == "cpu" for each in devices):
        return warn(
            "device",
            ("ComfyUI uses no GPU.", "ComfyUI 没有使用 GPU。"),
            (
                "A picture takes minutes: raise timeout, or check the drivers and ComfyUI's own log.",
                "生成一张图片需要数分钟：请调大 timeout，或检查驱动和 ComfyUI 日志。",
            ),
        )
    memory = overview.summary(client, Deadline(_ASK_S)).memory
    told = "; ".join(f"{name}, {free:.1f} of {total:.1f} GiB free" for name, free, total in memory)
    told_zh = "；".join(f"{name}，空闲 {free:.1f} / {total:.1f} GiB" for name, free, total in memory)
    if max(free for _, free, _ in memory) < _LITTLE_MEMORY:
        fix = (
            "Close what else uses the GPU; ComfyUI may hold models, which it unloads when it needs the room.",
            "请关闭占用显存的程序；若是 ComfyUI 缓存的模型，需要时会自动卸载。",
        )
        return warn("device", (told, told_zh), fix)
    return ok("device", told, told_zh)


def _queue(client: Client) -> Finding:
    waiting = client.queue_remaining(Deadline(_ASK_S))
    said = (
        f"{waiting} {'job' if waiting == 1 else 'jobs'} in it, the running one included",
        f"{waiting} 个任务，包括运行中的",
    )
    if waiting > _LONG_QUEUE:
        return warn("queue", said, ("A new job waits for all of them.", "新任务需要等待它们全部完成。"))
    return ok("queue", *said)


def _not_written() -> Finding:
    return skipped(
        "disk",
        "ComfyUI does not tell how much is left; --write tries it with a file of 67 bytes",
        "ComfyUI 不提供剩余空间；--write 会写入一个 67 字节的文件来测试",
    )


def _disk(client: Client) -> Finding:
    """Store one pixel, under a name made of its bytes, so that there is never more than one."""
    file = InputFile(_PNG, MediaType("image/png", ".png"))
    try:
        name = client.upload_image(file, Deadline(_ASK_S))
    except Unavailable as exc:
        fix = (
            "The disk is full, or ComfyUI may not write to its input folder: see its log.",
            "磁盘已满，或 ComfyUI 无权写入 input 文件夹：请查看日志。",
        )
        return fail("disk", failed("disk", exc).said, fix)
    return ok("disk", f"can be written: left {name} in its input folder", f"可写入：已在 input 文件夹保存 {name}")


def _models(client: Client) -> Finding:
    models, loras = (overview.names(kind, client, Deadline(_ASK_S)) for kind in ("models", "loras"))
    said = (f"{len(models)} models, {len(loras)} LoRAs", f"{len(models)} 个模型，{len(loras)} 个 LoRA")
    if models:
        return ok("models", *said)
    return warn(
        "models",
        said,
        (
            "Put model files under ComfyUI's models/ folder: 'comfybridge templates NAME' says which and where from.",
            "请将模型文件放入 ComfyUI 的 models/ 文件夹：comfybridge templates NAME 会列出文件和下载页面。",
        ),
    )


def _templates(client: Client, others: Sequence[Template]) -> Finding:
    able, lacking = overview.templates(client, Deadline(_ASK_S), others)
    names = ", ".join(template.name for template in able) or "-"
    said = (
        f"{len(able)} of {len(able) + len(lacking)} can run: {names}",
        f"{len(able) + len(lacking)} 个中有 {len(able)} 个可用：{names}",
    )
    details = []
    for each in lacking:
        some, more = ", ".join(each.lacks[:_MOST_SHOWN]), len(each.lacks) - _MOST_SHOWN
        english, chinese = (f" and {more} more", f" 等 {len(each.lacks)} 项") if more > 0 else ("", "")
        details.append((f"{each.template.name} lacks {some}{english}", f"{each.template.name} 缺少 {some}{chinese}"))
    if any(template.task == "text2image" for template in able):
        return ok("templates", *said, details)
    return Finding("templates", "fail", said, library.choices("text2image")[0].how_to_install(), tuple(details))


def _both(text: str) -> Said:
    return text, text

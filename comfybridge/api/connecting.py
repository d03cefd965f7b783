"""From addresses and ways in to something that makes pictures."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from comfybridge import credentials, library
from comfybridge.api.comfy import Comfy
from comfybridge.client import Client
from comfybridge.errors import InvalidInput
from comfybridge.generation import COMFY_ORG_KEY
from comfybridge.parameters import Limits
from comfybridge.pool import Pool
from comfybridge.template import Template


def connect(
    *addresses: str,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    verify_tls: bool = True,
    templates_dir: str | os.PathLike[str] | None = None,
    blocked_words: str | Iterable[str] | None = None,
    max_pixels: int | None = None,
    comfy_org_api_key: str | None = None,
    timeout: float = 600.0,
) -> Comfy:
    """Take one or more servers into use; nothing is sent yet. To be closed, best by ``with``.

    addresses: ``http://host:8188``, with a path prefix, ``user:password@`` or ``?token=…`` where needed. Without any,
        those of ``COMFYUI_URL``, with commas between them.
    api_key: goes as ``Authorization: Bearer …`` with every request.
    templates_dir: a folder with templates of your own: ``name.json`` and ``name.yaml``.
    blocked_words: prompts that hold one of them are refused.
    max_pixels: what one call may ask for, the whole batch.
    comfy_org_api_key: for nodes of paid services.
    timeout: seconds until a call raises TimedOut, unless the call says otherwise; its job goes on.

    Raises:
        InvalidInput: there is no address, or something is not written as it should be.
    """
    typed = ",".join(addresses) or os.environ.get("COMFYUI_URL", "")
    if not typed.strip(" ,"):
        raise InvalidInput(
            "No server: give the address of a ComfyUI, such as http://127.0.0.1:8188, or set COMFYUI_URL.",
            "没有服务器：请给出 ComfyUI 的地址，例如 http://127.0.0.1:8188，或设置环境变量 COMFYUI_URL。",
        )
    values: dict[str, Any] = {
        "base_url": typed,
        "api_key": api_key,
        "headers": json.dumps(dict(headers)) if headers else "",
        "verify_tls": verify_tls,
        "comfy_org_api_key": comfy_org_api_key,
        "blocked_words": blocked_words if isinstance(blocked_words, str) else "\n".join(blocked_words or ()),
    }
    read = credentials.read(values)
    clients = [
        Client(server.base_url, dict(server.headers), query=server.query, verify_tls=server.verify_tls)
        for server in read.servers
    ]
    return Comfy(
        Pool(clients),
        limits=Limits(read.max_prompt_length, serverless=False, blocked_words=read.blocked_words),
        templates=read_templates(templates_dir),
        max_pixels=max_pixels,
        extra_data={COMFY_ORG_KEY: read.comfy_org_api_key} if read.comfy_org_api_key else {},
        timeout_s=timeout,
    )


def read_templates(folder: str | os.PathLike[str] | None) -> tuple[Template, ...]:
    """Raises InvalidInput for a folder that cannot be read, or a template in it."""
    if folder is None:
        return ()
    path = Path(folder)
    try:
        if not path.is_dir():
            raise InvalidInput(f"templates_dir: there is no folder {path}.", f"templates_dir：没有文件夹 {path}。")
        return library.read_folder(path)
    except (OSError, ValueError) as exc:
        raise InvalidInput(f"templates_dir {path}: {exc}.", f"templates_dir {path}：{exc}。") from exc

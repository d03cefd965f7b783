"""Servers taken in, paused, drained and removed while everything runs: what operators see and do. No I/O of its own.

``paused``: takes nothing new; what it has goes on, and what only it can run is accepted and waits. ``draining``: takes
nothing new, finishes what it has, and what only it can run is no longer accepted. ``removed``: drained, then its worker
ends, and does not come back until the server is added again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from comfybridge.service.claiming import LEASE_S
from comfybridge.service.masking import masked

SERVE = "comfybridge-serve"
"""The application name of a ``serve`` in the database: while it is there, added servers get their workers."""

MODES = {"resume": "active", "pause": "paused", "drain": "draining", "remove": "removed"}
ACTIONS = ("add", *MODES)

LIST = """
SELECT servers.url, mode, health, reason, reason_zh, worker, is_added, loaded AS wants, wants.needs AS loaded,
    extract(epoch FROM now() - nullif(heartbeat, 'epoch'))::float AS silent_s,
    (SELECT coalesce(sum(json_array_length(value)), 0) FROM json_each(models))::int AS models,
    (SELECT count(*) FROM jobs WHERE jobs.server = servers.url AND state = 'running') AS running,
    (SELECT count(*) FROM jobs WHERE jobs.server = servers.url AND state = 'claimed') AS waiting
FROM servers LEFT JOIN wants ON wants.digest = servers.loaded
ORDER BY mode = 'removed', registered, servers.url
"""

ADD = """
WITH before AS (SELECT mode FROM servers WHERE url = %(url)s),
added AS (
    INSERT INTO servers (url, is_added, heartbeat) VALUES (%(url)s, true, 'epoch')
    ON CONFLICT (url) DO UPDATE SET is_added = true,
        mode = CASE WHEN servers.mode = 'removed' THEN 'active' ELSE servers.mode END
    RETURNING mode
)
SELECT added.mode, (SELECT mode FROM before), pg_notify(%(channel)s, %(notice)s),
    EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %(serve)s AND datname = current_database()),
    0
FROM added
"""
"""The new mode, the one before, nothing, whether a ``serve`` runs, and nothing. As SET_MODE."""

# Waiting jobs that no other server may take: they wait until one can.
SET_MODE = """
WITH before AS (SELECT mode FROM servers WHERE url = %(url)s),
changed AS (UPDATE servers SET mode = %(mode)s WHERE url = %(url)s RETURNING mode)
SELECT changed.mode, (SELECT mode FROM before), pg_notify(%(channel)s, %(notice)s),
    EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %(serve)s AND datname = current_database()),
    (SELECT count(*) FROM jobs WHERE state = 'queued'
        AND wants IN (SELECT wants FROM offers WHERE server = %(url)s)
        AND NOT EXISTS (
            SELECT FROM offers JOIN servers ON servers.url = offers.server
            WHERE offers.wants = jobs.wants AND offers.server <> %(url)s
                AND servers.mode IN ('active', 'paused') AND offers.server <> ALL (avoid)))
FROM changed
"""
"""The new mode, the one before, nothing, whether a ``serve`` runs, and how many waiting jobs nobody else can run."""


class NotAnAddress(ValueError):
    """What was given is no address of a server: a sentence in English and one in Chinese."""

    def __init__(self, typed: str) -> None:
        given = repr(masked(typed))
        super().__init__(f"{given} is no address of a server, such as http://gpu1:8188.")
        self.zh = f"{given} 不是服务器地址，地址形如 http://gpu1:8188。"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a command did; ``stranded`` jobs wait that no other server can run."""

    action: str
    url: str
    mode: str
    before: str | None
    is_served: bool
    stranded: int

    @property
    def sentences(self) -> tuple[str, str]:
        url = shown(self.url)
        if self.action == "add" and self.before not in (None, "removed"):
            return f"{url} is there already: {self.mode}.", f"{url} 已在列：{self.mode}。"
        english, chinese = _SAID[self.action]
        en, zh = english.format(url=url), chinese.format(url=url)
        if self.action == "add" or (self.action == "resume" and self.before == "removed"):
            more = _SERVED if self.is_served else _UNSERVED
            en, zh = f"{en} {more[0].format(url=url)}", f"{zh}{more[1].format(url=url)}"
        elif self.stranded and self.mode in ("draining", "removed"):
            en += f" Waiting jobs that no other server can run: {self.stranded}; they wait until one can."
            zh += f"有 {self.stranded} 个等待中的任务没有其他服务器可以运行，将一直等到有服务器可用。"
        return en, zh


_SAID = {
    "add": ("{url} is taken in.", "已加入 {url}。"),
    "resume": ("{url} takes jobs again.", "{url} 恢复接受任务。"),
    "pause": ("{url} takes nothing new until it is resumed.", "{url} 已暂停，恢复前不再接受新任务。"),
    "drain": ("{url} finishes what it has and takes nothing new.", "{url} 正在排空：完成已有任务，不再接受新任务。"),
    "remove": (
        "{url} finishes what it has; then its worker ends, and stays away until the server is added again.",
        "{url} 完成已有任务后其工作进程结束，重新加入前不会再启动。",
    ),
}
_SERVED = ("Its worker is started.", "正在启动其工作进程。")
_UNSERVED = (
    "Nobody starts its worker here: run `comfybridge worker --comfyui {url} --database … --store …`, best beside it.",
    "没有程序会启动它的工作进程：请运行 `comfybridge worker --comfyui {url} --database … --store …`，最好与它同机。",
)


def said_at_removal(url: str) -> tuple[str, str]:
    """What the worker of a removed server says at its end."""
    return (
        f"{shown(url)} was removed; `comfybridge servers add {shown(url)}` takes it in again.",
        f"{shown(url)} 已被移除；`comfybridge servers add {shown(url)}` 可重新加入。",
    )


def normal(url: str) -> str:
    """The address as workers write it.

    Raises:
        NotAnAddress: it is none.
    """
    scheme, _, rest = url.strip().partition("://")
    address = f"{scheme.lower()}://{rest}".rstrip("/")
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise NotAnAddress(url) from exc
    if not is_one or parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise NotAnAddress(url)
    return address


def shown(url: str) -> str:
    """The address without the secrets that it may carry."""
    return masked(url)


def meant(typed: str, known: Iterable[str]) -> str | None:
    """The one of the known addresses that somebody means, who may have seen it without its secrets only."""
    wanted = normal(typed)
    urls = list(known)
    if wanted in urls:
        return wanted
    alike = [url for url in urls if shown(url) == wanted]
    return alike[0] if len(alike) == 1 else None


def described(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of LIST as it is told: no secrets, and the loaded model files by name."""
    needs = row["loaded"] or {}
    silent_s = row["silent_s"]
    is_silent = silent_s is None or silent_s > LEASE_S
    reason, reason_zh = row["reason"], row["reason_zh"]
    if row["mode"] == "removed":
        reason = reason_zh = ""
    elif is_silent:
        reason, reason_zh = "Its worker is silent.", "其工作进程没有响应。"
    return {
        "url": shown(row["url"]),
        "mode": row["mode"],
        # Of a server without a worker nobody knows how it is.
        "health": "unknown" if is_silent else row["health"],
        "reason": reason,
        "reason_zh": reason_zh or reason,
        "worker": row["worker"],
        "heartbeat_s": None if silent_s is None else round(silent_s, 1),
        "is_added": row["is_added"],
        "models": row["models"],
        "running": row["running"],
        "waiting": row["waiting"],
        "loaded": [value for _, _, value in needs.get("models", ())],
    }

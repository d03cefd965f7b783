"""Webhooks on their way: what ended jobs and alerts left in ``deliveries`` is sent until somebody has it.

At least once, as ever over a network, but always under the same id and with the same bytes, so that one can tell.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
from psycopg_pool import AsyncConnectionPool

from comfybridge.service import webhooks
from comfybridge.service.gateway import deliveries
from comfybridge.service.gateway.deliveries import TIMEOUT_S, Delivery, Endpoint
from comfybridge.service.masking import masked
from comfybridge.service.supervised import DATABASE_FAULTS

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_CLEAR_EVERY_S = 60.0
_MOST, _MOST_EACH = 64, 4
"""Under way at once: in all, and to one endpoint."""
_MOST_READ, _MOST_KEPT = 2048, 300


class Sender:
    """``links`` makes a signed address of a file, given its owner and how long it is to last."""

    def __init__(
        self,
        pool: AsyncConnectionPool,
        *,
        alerts: tuple[str, str] = ("", ""),
        link_for: Callable[[str, float], webhooks.Link] | None = None,
    ) -> None:
        self._pool = pool
        self._alerts = alerts
        self._link_for = link_for
        self._busy: Counter[Endpoint] = Counter()
        self._failing: set[Endpoint] = set()
        self._freed = asyncio.Event()
        self.results: Counter[str] = Counter({"delivered": 0, "refused": 0, "unreachable": 0})
        """What became of the sendings of this process."""

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as session, asyncio.TaskGroup() as tasks:
            cleared = -math.inf
            while True:
                self._freed.clear()
                claimed: list[Delivery] = []
                try:
                    claimed = await self._claim()
                    if time.monotonic() - cleared > _CLEAR_EVERY_S:
                        cleared = time.monotonic()
                        await deliveries.clear(self._pool)
                except DATABASE_FAULTS as exc:
                    logger.warning("webhooks wait for the database: %s", exc)
                for delivery in claimed:
                    self._busy[delivery.is_alert, delivery.owner] += 1
                    tasks.create_task(self._send(session, delivery))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._freed.wait()

    async def _claim(self) -> list[Delivery]:
        most = _MOST - self._busy.total()
        if most <= 0:
            return []
        # Where the last one failed one at a time has to do: no number of dead endpoints takes all places.
        busy = self._busy + Counter(dict.fromkeys(self._failing, _MOST_EACH - 1))
        return await deliveries.claim(self._pool, busy, most=most, most_each=_MOST_EACH, alerts=self._alerts)

    async def _send(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        try:
            body = delivery.body
            if body is None:
                body = await deliveries.fix(self._pool, delivery, self._body(delivery))
            await self._post(session, delivery, body)
        except DATABASE_FAULTS as exc:
            # It is sent again when nobody has said for a while what became of it.
            logger.warning("webhook %s: what became of it is not written down: %s", delivery.id, exc)
        finally:
            self._busy[delivery.is_alert, delivery.owner] -= 1
            self._freed.set()

    def _body(self, delivery: Delivery) -> bytes:
        facts = delivery.facts
        if delivery.is_alert:
            return webhooks.body(delivery.type, delivery.created, facts)
        link = None
        if self._link_for is not None and facts.get("expires"):
            lasts = datetime.fromisoformat(facts["expires"]) - datetime.now(UTC)
            link = self._link_for(delivery.owner, max(lasts.total_seconds(), 0.0))
        ended = datetime.fromisoformat(facts["ended"]) if facts.get("ended") else delivery.created
        return webhooks.body(delivery.type, ended, webhooks.of_job(facts, link))

    async def _post(self, session: aiohttp.ClientSession, delivery: Delivery, body: bytes) -> None:
        status, asked_s, endpoint = None, 0.0, (delivery.is_alert, delivery.owner)
        try:
            headers = webhooks.headers(delivery.secret, str(delivery.id), datetime.now(UTC), body)
            async with session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
                asked_s = _seconds(response.headers.get("Retry-After", ""))
                answer = _readable(await response.content.read(_MOST_READ))
        except TimeoutError:
            answer = f"no answer within {TIMEOUT_S:.0f} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            answer = _readable(masked(f"{type(exc).__name__}: {exc}").encode())
        if status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            self.results["delivered"] += 1
            self._failing.discard(endpoint)
            await deliveries.settle(self._pool, delivery, state="delivered", status=status, answer=answer)
            return
        self._failing.add(endpoint)
        self.results["unreachable" if status is None else "refused"] += 1
        logger.warning("webhook %s, attempt %d: %s %s", delivery.id, delivery.attempts, status or "", answer[:100])
        if status == HTTPStatus.GONE and not delivery.is_alert:
            await deliveries.close_endpoint(self._pool, delivery)
        chance = random.random()  # noqa: S311  (no secret)
        pause_s = None if status == HTTPStatus.GONE else webhooks.pause_s(delivery.tries, chance, asked_s)
        state = "failed" if pause_s is None else "pending"
        await deliveries.settle(self._pool, delivery, state=state, status=status, answer=answer, pause_s=pause_s or 0.0)


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _readable(data: bytes) -> str:
    text = data.decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)[:_MOST_KEPT].strip()

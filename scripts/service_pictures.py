# ruff: noqa: INP001 (a script; the folder is no package)
"""Make docs/pictures/service-light.webp and service-dark.webp: the page of a service at work, in a real browser.

Servers, jobs and pictures are real but for the painting, which is the simulator's test cards; what happened before
today is made up, and so are the servers' names, which would be ports of this machine.
``python -m scripts.service_pictures``
"""

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from comfybridge.service.postgres import Postgres
from scripts import pictures
from tests.browser.chromium import chromium
from tests.browser.fleet import ADMIN, ANNA, Service, sent, service
from tests.contract.server import eventually
from tests.service.running import folder

WIDTH = 1080
SIZE = {"width": 1440, "height": 1340}
SERVERS, WORK_S = 3, 8.0
WISHES = (
    "a red fox in snow, photograph",
    "暴风雨中的灯塔，水彩",
    "portrait of an old fisherman, film grain",
    "a city of glass at dawn, wide angle",
    "a wooden desk by a window, morning light",
    "paper boats on a canal, gouache",
    "mountain hut under the milky way",
    "a bowl of ramen, studio light",
    "poster for a jazz festival, 1960s",
    "a greenhouse full of ferns",
)
#: template, version, runs, part that succeeds, seconds
VERSIONS = (
    ("poster", 1, 50, 0.98, 4.1),
    ("poster", 2, 31, 0.77, 3.2),
    ("product-shot", 3, 46, 1.0, 6.8),
    ("product-shot", 4, 12, 1.0, 5.1),
    ("z-image-turbo", 1, 120, 0.99, 1.9),
)
RULES = {
    "poster": {"stable": "1", "share": {"2": 20}, "keys": {}, "threshold": None},
    "product-shot": {"stable": "3", "share": {"4": 10}, "keys": {"studio": "4"}, "threshold": None},
}
WHY = {
    "en": "31 of its runs ended, 77% of them succeeded; 90% are wanted.",
    "zh": "已结束的 31 次运行中 77% 成功，要求为 90%。",
}
_PAST = """
INSERT INTO jobs (prompt_id, owner, prompt, extra_data, targets, wants, priority, number, state, outcome, template,
    gpu_s, created, ended, reason, server)
SELECT %(id)s, owner, prompt, extra_data, targets, wants, priority, number, 'ended', %(outcome)s, %(template)s,
    %(seconds)s, now() - %(ago)s * interval '1 minute', now() - %(ago)s * interval '1 minute', %(reason)s, server
FROM jobs ORDER BY created LIMIT 1
"""


def main() -> None:
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(stack.enter_context(folder())))
        store = stack.enter_context(folder())
        fleet = stack.enter_context(service(postgres.url, store, servers=SERVERS, work=WORK_S))
        browser = stack.enter_context(chromium())
        send(fleet, WISHES[:8])
        eventually(lambda: fleet.one("SELECT count(*) FROM jobs WHERE state <> 'ended'") == 0)
        remember(fleet.connection)
        pages = {scheme: opened(browser, fleet, scheme) for scheme in ("light", "dark")}
        send(fleet, WISHES[::-1] * 2)
        # Playwright answers for the pages only while it is asked something.
        while fleet.one(_HALF_DONE) < SERVERS:
            pages["dark"].wait_for_timeout(100)
        for comfyui in fleet.comfyuis:
            comfyui.hold()
        for scheme, page in pages.items():
            shot = store / f"{scheme}.png"
            expect(page.locator(".job img:not([hidden])")).to_have_count(SERVERS)
            while not page.evaluate("[...document.querySelectorAll('.thumb img')].every((image) => image.complete)"):
                page.wait_for_timeout(100)
            page.screenshot(path=shot)
            page.unroute_all(behavior="ignoreErrors")
            save(shot, pictures.PICTURES / f"service-{scheme}.webp")
        fleet.end_all()


def remember(connection: psycopg.Connection) -> None:
    """Write down a past."""
    chance = random.Random(7)  # noqa: S311  (no secret)
    for template, version, runs, success, seconds in VERSIONS:
        for number in range(runs):
            is_good = number >= runs * (1 - success)
            values = {
                "id": f"{template}-{version}-{number}",
                "outcome": "succeeded" if is_good else "failed",
                "template": f"{template}@{version}",
                "seconds": seconds * chance.uniform(0.9, 1.3),
                "ago": chance.uniform(20, 600),
                "reason": None if is_good else json.dumps(_REASON),
            }
            connection.execute(_PAST, values)
    for template, rules in RULES.items():
        connection.execute(
            "INSERT INTO rollouts (template, digest, rules, since)"
            " VALUES (%s, 'of today', %s, now() - interval '1 day')",
            (template, json.dumps(rules)),
        )
    connection.execute(
        "INSERT INTO rollbacks (template, version, digest, reason, at) VALUES"
        " ('poster', '2', 'of today', %s, now() - interval '20 minutes')",
        (json.dumps(WHY),),
    )
    connection.execute(
        "INSERT INTO events (kind, data, created) VALUES ('rollback', %s, now() - interval '20 minutes')",
        (json.dumps({"template": "poster", "version": "2", "stable": "1", "reason": WHY}),),
    )
    connection.execute("DELETE FROM minutes")
    for minute in range(60):
        good = max(0, round(9 + 5 * chance.random() - abs(30 - minute) / 6))
        bad = chance.choice((1, 2)) if 18 < minute < 26 else 0  # noqa: PLR2004  (when the new poster failed)
        connection.execute(
            "INSERT INTO minutes (minute, template, succeeded, failed)"
            " VALUES (date_trunc('minute', now()) - %s * interval '1 minute', '', %s, %s)",
            (minute, good, bad),
        )


_HALF_DONE = "SELECT count(*) FROM jobs WHERE state = 'running' AND (progress ->> 'value')::int >= 12"
_REASON = {"en": "Node 12 (VAEDecode) ran out of memory.", "zh": "节点 12（VAEDecode）显存不足。"}


def send(fleet: Service, wishes: Sequence[str]) -> None:
    with closing(fleet.server(ANNA)) as anna, closing(fleet.server(ADMIN)) as admin:
        for number, wish in enumerate(wishes):
            sent(anna if number % 3 else admin, wish, seed=len(wishes) + number, steps=30)


def opened(browser: Browser, fleet: Service, scheme: str) -> Page:
    urls = fleet.connection.execute("SELECT url FROM servers ORDER BY registered, url").fetchall()
    names = {url: f"http://gpu{number + 1}:8188" for number, (url,) in enumerate(urls)}
    context = browser.new_context(viewport=SIZE, color_scheme=scheme, locale="en-GB")
    page = context.new_page()
    page.route("**/comfybridge/overview*", lambda route: _renamed(route, names))
    page.goto(fleet.url)
    page.locator("#key").fill(ADMIN)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".columns").wait_for()
    return page


def _renamed(route: Route, names: Mapping[str, str]) -> None:
    answer = route.fetch()
    text = answer.text()
    for url, name in names.items():
        text = text.replace(url, name)
    route.fulfill(response=answer, body=text)


def save(shot: Path, path: Path) -> None:
    picture = Image.open(shot).convert("RGB")
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    pictures.save(picture.resize(size, Image.Resampling.LANCZOS), path)


if __name__ == "__main__":
    main()

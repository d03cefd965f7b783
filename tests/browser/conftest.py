"""One Chromium and one fleet for all tests; a page each, which must not complain."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import chromium
from tests.browser.fleet import Service, service
from tests.service.running import folder

# A browser, a database, a gateway, workers and two ComfyUIs share what may be two busy cores.
DEADLINE_MS = 30_000
SHOTS = Path(__file__).parents[2] / "build" / "page"
Opened: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=DEADLINE_MS)
    try:
        with chromium() as found:
            yield found
    except FileNotFoundError as exc:
        pytest.exit(str(exc), returncode=2)


@pytest.fixture(scope="session")
def kept(postgres: str) -> Iterator[Service]:
    with folder() as store, service(postgres, store, work=0.5) as found:
        yield found


@pytest.fixture
def fleet(kept: Service) -> Iterator[Service]:
    """Two servers, keys for an admin and for Anna, and nothing to do."""
    kept.end_all()
    yield kept
    for action in kept.comfyuis:
        action.release()
    kept.connection.execute("UPDATE servers SET mode = 'active'")


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open the page; what its console says beside what is expected fails the test."""
    said: list[str] = []
    expected: list[str] = []
    contexts = []

    def open_page(url: str, key: str = "", *, says: tuple[str, ...] = (), **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1360, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        expected.extend(says)
        page.goto(url)
        if key:
            page.locator("#key").fill(key)
            page.locator("form button.primary").click()
            page.locator(".columns").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if not any(one in text for one in expected)] == []


@pytest.fixture(scope="session")
def shots() -> Path:
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS

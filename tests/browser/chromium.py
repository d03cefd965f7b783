"""A Chromium: the one that is named, Playwright's own, or one that the machine has."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

VARIABLE = "COMFYBRIDGE_BROWSER"
NONE = (
    f"There is no Chromium. Name one in {VARIABLE}, install one (Debian: apt-get install chromium), or run\n"
    "    .venv-3.*/bin/python -m playwright install --with-deps chromium"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PLACES = (
    "/usr/lib/chromium/chromium",
    "/usr/lib64/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Raises FileNotFoundError, with what to do, where there is none."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        named = os.environ.get(VARIABLE)
        there = (name for name in (own, *map(shutil.which, _NAMES), *_PLACES) if name and Path(name).exists())
        path = named or next(there, None)
        if path is None:
            raise FileNotFoundError(NONE)
        # Root, as in a container, has no sandbox.
        alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=alone)
        try:
            yield browser
        finally:
            browser.close()

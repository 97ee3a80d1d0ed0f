"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright, that reaches nothing but the page.

Without one these tests skip and say so, unless `FSMEDIA_REQUIRE_BROWSER` is set, as `.ci/run` does: then they fail.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIRED = "FSMEDIA_REQUIRE_BROWSER"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def launched() -> Iterator[Any]:
    """Give a browser; skip, or fail where one is required, without."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        said = f"no browser on this machine ({', '.join(NAMES)}): install Debian's chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(said)
        pytest.skip(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """One visit to a page, and all that must not happen during it.

    Parameters
    ----------
    browser
        See `launched`.
    options
        Of the visit: `java_script_enabled`, `color_scheme`, `viewport`.
    """

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def go(self, path: Path) -> Any:
        """Open a file and return the page."""
        self.page.goto(path.as_uri())
        self.file = path.as_uri()
        return self.page

    def end(self) -> None:
        """Check that nothing was said, nothing asked for but the page, and no stranger's code ran."""
        title = self.page.title()
        elsewhere = [url for url in self.asked if url != self.file and not url.startswith(("data:", "blob:"))]
        self.context.close()
        assert self.said == []
        assert elsewhere == []
        assert title != "ran"


@contextmanager
def visiting(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """Open a file, give the page, and check at the end."""
    visit = Visit(browser, **options)
    yield visit.go(path)
    visit.end()

"""A page in a real browser, with the addresses that it asked for and what its console said."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect

from tests.support.process import ROOT

CHROMIUM = shutil.which("chromium")
AXE = ROOT / ".page-tools/axe/node_modules/axe-core/axe.min.js"

# What a closed network needs too: nothing that the browser fetches for itself, and no host but this one.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")  # of colours

SECONDS = 180_000  # ms: a hundred times what most of it takes, for a machine that is busy with other things
expect.set_options(timeout=SECONDS)
VIEWPORT: ViewportSize = {"width": 1280, "height": 720}  # Playwright's own

in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or not AXE.exists(),
    reason="chromium or axe is not installed (apt-get install chromium; make test-all ONLY=browser)",
)


@dataclass
class Visit:
    """A page with the addresses that it asked for, and what its console said."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def forget(self) -> None:
        """What came before is none of this visit."""
        self.asked.clear()
        self.complaints.clear()

    def elsewhere(self, url: str) -> set[str]:
        """The addresses asked for that are not of the service at `url`."""
        return {address for address in self.asked if not address.startswith(("data:", "blob:", f"{url}/"))}

    def check(self, url: str) -> None:
        """Nothing was asked elsewhere or complained of; axe finds nothing, and no width scrolls to the side."""
        assert (self.complaints, self.elsewhere(url)) == ([], set())
        self.page.evaluate(AXE.read_text())  # the policy does not bind what the debugger evaluates
        for scheme, width in product(SCHEMES, (1280, 375)):
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": width, "height": 900})
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width
            found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
            assert told == [], (scheme, width)


def visit_in(browser: Browser, **context: object) -> Visit:
    """A page in a context of its own, which shares nothing with others. `context`: options of Playwright's."""
    visit = Visit(browser.new_context(**context).new_page())  # type: ignore[arg-type]
    visit.page.set_default_timeout(SECONDS)
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    visit.page.on("requestfailed", lambda request: visit.complaints.append(f"failed: {request.url}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("console", visit.note)
    return visit


@dataclass
class Tab:
    """A tab of the service's page at `url`, open in a page."""

    visit: Visit
    url: str

    @property
    def page(self) -> Page:
        return self.visit.page

    def sent(self, path: str) -> int:
        """How many requests it has made to `path`."""
        return self.visit.asked.count(f"{self.url}{path}")

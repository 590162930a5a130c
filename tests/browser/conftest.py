"""A real service on the demo model, and a real browser that can reach no other host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.visit import CHROMIUM, FLAGS, Visit, visit_in
from tests.process import Process

expect.set_options(timeout=30_000)  # ms: ten times what a page takes on a busy machine


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a service process with the demo model answers, on the engine that every machine has."""
    process = Process(backend="onnx")
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one for the tests of a file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A page of its own for each test."""
    visit = visit_in(browser)
    yield visit
    visit.page.context.close()

"""A real service on the demo model, and a real browser that can reach no other host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.access.support import write_keys
from tests.external.browser.visit import CHROMIUM, FLAGS, SECONDS, VIEWPORT, Visit, visit_in
from tests.support.process import PATIENT_WITH_CLIENTS, Process

FORGET = """() => {
  if (origin === "null") return; // it has no storage
  localStorage.clear();
  sessionStorage.clear();
}"""


@pytest.fixture(scope="package")
def service() -> Iterator[Process]:
    """A process with the demo model, on the engine that every machine has. Who adds to it takes that away."""
    process = Process(backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process
    assert process.stop()[0] == 0


@pytest.fixture(scope="package")
def url(service: Process) -> str:
    """Where it answers."""
    return service.url


@pytest.fixture(scope="package")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """(address of a service that asks for keys, name -> key)."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    keys = write_keys(file, slow={"rows_per_second": 2})
    process = Process(keys_file=str(file), rate_window_seconds=2, backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process.url, keys
    assert process.stop()[0] == 0


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one for all tests here."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=SECONDS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def window(browser: Browser) -> Iterator[Visit]:
    """One tab, because each new one costs a process more."""
    window = visit_in(browser)
    yield window
    window.page.context.close()


@pytest.fixture
def visit(window: Visit) -> Iterator[Visit]:
    """The tab as if it were new."""
    window.forget()
    yield window
    window.page.unroute_all()
    window.page.context.clear_permissions()
    window.page.evaluate(FORGET)
    window.page.goto("about:blank")
    window.page.set_viewport_size(VIEWPORT)
    window.page.emulate_media(color_scheme="light")

"""The page of a search, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from clipserve.commands.contact_sheet import contact_sheet
from tests.external.browser.visit import SCHEMES, in_a_browser
from tests.support.service import png

pytestmark = in_a_browser


def test_the_contact_sheet_is_shown_in_light_and_in_dark(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(size=(90, 30)))
    file = tmp_path / "found.html"
    file.write_text(contact_sheet("cats", "photos", [("a.png", 0.5, tmp_path / "a.png")]))
    colours, said = [], list[str]()
    page = browser.new_page(color_scheme="light")
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.querySelector('img').naturalWidth") == 90
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).color"))
    page.close()
    assert said == []
    assert colours[0] != colours[1]

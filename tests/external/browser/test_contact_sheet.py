"""The page of a search, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from clipserve.commands.contact_sheet import contact_sheet
from clipserve.commands.vectors.files import Found
from tests.external.browser.visit import SCHEMES, in_a_browser
from tests.support import png

pytestmark = in_a_browser


LINES = """() => {
  const texts = [...document.querySelector("figcaption").childNodes].filter(({ nodeType }) => nodeType === 3);
  return texts.map((text) => {
    const range = document.createRange();
    range.selectNode(text);
    return range.getClientRects().length;
  });
}"""


def test_a_long_path_goes_on_in_the_next_line_behind_a_word(browser: Browser, tmp_path: Path) -> None:
    name = "holiday-in-the-mountains/2024-07-14_evening/IMG_20240714_101112.jpg"
    file = tmp_path / "found.html"
    file.write_text(contact_sheet("cats", "photos", [(Found(name, 0.5), None)]))
    page = browser.new_page(viewport={"width": 400, "height": 600})
    page.goto(file.as_uri())
    assert page.evaluate("document.querySelector('figcaption').textContent") == f"0.500 {name}"
    assert page.evaluate("document.querySelector('figcaption').getClientRects()[0].height") > 30  # lines
    assert set(page.evaluate(LINES)) == {1}
    page.close()


def test_the_contact_sheet_is_shown_in_light_and_in_dark(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(size=(90, 30)))
    file = tmp_path / "found.html"
    file.write_text(contact_sheet("cats", "photos", [(Found("a.png", 0.5), tmp_path / "a.png")]))
    colours, said = [], list[str]()
    page = browser.new_page(color_scheme="light")
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.querySelector('img').naturalWidth") == 90
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.close()
    assert said == []
    assert colours[0] != colours[1]

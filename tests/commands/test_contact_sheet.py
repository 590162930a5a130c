"""The page of a search."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipserve.commands.contact_sheet import contact_sheet
from clipserve.commands.vectors.files import Found
from tests.support import png


def test_names_are_escaped_pictures_are_inside_and_nothing_is_loaded(tmp_path: Path) -> None:
    name = '<script>alert("x")</script>&.png'
    (tmp_path / "a.png").write_bytes(png(size=(900, 300)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = [
        (Found(name, 0.5), tmp_path / "a.png"),
        (Found("bad", 0.4), tmp_path / "bad.png"),
        (Found("gone", 0.3), tmp_path / "gone.png"),
        (Found("a text", 0.2), None),
    ]
    page = contact_sheet("a <b>", "photos & more", found)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;.png" in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert page.count('class="none"') == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "color-scheme: light dark" in page
    assert len(page) < 40_000


@pytest.mark.browser
def test_a_browser_shows_it_in_light_and_in_dark(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "a.png").write_bytes(png(size=(90, 30)))
    page_file = tmp_path / "found.html"
    page_file.write_text(contact_sheet("cats", "photos", [(Found("a.png", 0.5), tmp_path / "a.png")]))
    colours = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            faults: list[str] = []
            page.on("console", lambda message: faults.append(message.text))  # noqa: B023
            page.goto(page_file.as_uri())
            assert page.evaluate("document.querySelector('img').naturalWidth") == 90
            colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert faults == []
        browser.close()
    assert colours[0] != colours[1]

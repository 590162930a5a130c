"""Colours, themes and widths: how the page looks."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from tests.external.browser.page.classify import Classify
from tests.external.browser.visit import SCHEMES, Visit, in_a_browser, visit_in

pytestmark = in_a_browser

GROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_colours_follow_the_system(visit: Visit, url: str) -> None:
    visit.page.goto(f"{url}/")
    grounds = []
    for scheme in SCHEMES:
        visit.page.emulate_media(color_scheme=scheme)
        grounds.append([int(part) for part in re.findall(r"\d+", visit.page.evaluate(GROUND))])
    light, dark = map(sum, grounds)
    assert light > 3 * 230
    assert dark < 3 * 50


def test_a_theme_can_be_chosen_and_is_kept(visit: Visit, url: str) -> None:
    page = visit.page
    page.goto(f"{url}/")
    switch = page.locator("#theme")
    # Against the system each time; auto comes between.
    for system, chosen in (SCHEMES, SCHEMES[::-1]):
        page.emulate_media(color_scheme=system)
        before = page.evaluate(GROUND)
        switch.click()
        switch.click()
        expect(switch).to_have_text(f"Theme: {chosen}")
        after = page.evaluate(GROUND)
        assert after != before
        page.reload()
        expect(switch).to_have_text(f"Theme: {chosen}")
        assert page.evaluate(GROUND) == after


def test_no_width_scrolls_to_the_side(classify: Classify) -> None:
    page = classify.page
    page.get_by_text("Templates and scoring").click()
    classify.type("a label that is rather long, as people sometimes have them" * 3)
    classify.choose(("a.png", b"x"), ("a" * 100 + ".heic", b"\0\0\0\x18ftypheic"), ("b.jpg", b"y"))
    expect(classify.results.locator("tbody tr")).to_have_count(2)
    expect(classify.results).to_have_attribute("aria-busy", "false")
    for kind in ("curl", "Python", "gRPC"):
        page.get_by_role("button", name=kind, exact=True).click()
        for width in (320, 375, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (kind, width)


def test_a_phone_offers_its_camera(browser: Browser, url: str) -> None:
    visit = visit_in(browser, is_mobile=True, has_touch=True, viewport={"width": 375, "height": 812})
    phone = Classify(visit, url).open()
    expect(phone.page.locator("#classify input[capture=environment]")).to_have_count(1)
    expect(phone.page.get_by_role("button", name="Take a photo")).to_be_visible()
    expect(phone.page.get_by_text("or drop or paste them")).to_be_hidden()
    phone.page.context.close()

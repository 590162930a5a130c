"""Colours, themes and widths: how the page looks."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.page.classify import SECONDS, Classify
from tests.browser.visit import in_a_browser, visit_in

pytestmark = in_a_browser

# Relative luminance and contrast as WCAG 2 has them.
CONTRAST = """([foreground, background]) => {
  const channels = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [less, more] = [luminance(foreground), luminance(background)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}"""
COLOURS = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ground", "card", "text", "soft", "accent", "on-accent", "tint", "bad", "bad-tint", "edge"];
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}"""
READABLE = [  # foreground, background, least contrast
    ("text", "ground", 4.5),
    ("text", "card", 4.5),
    ("text", "tint", 4.5),
    ("soft", "ground", 4.5),
    ("soft", "card", 4.5),
    ("soft", "tint", 4.5),
    ("soft", "bad-tint", 4.5),
    ("accent", "ground", 4.5),
    ("accent", "card", 4.5),
    ("accent", "tint", 4.5),
    ("on-accent", "accent", 4.5),
    ("bad", "card", 4.5),
    ("bad", "bad-tint", 4.5),
    ("bad", "tint", 4.5),
    ("edge", "card", 3.0),
    ("edge", "ground", 3.0),
]


def in_a_context(browser: Browser, url: str, **context: Any) -> Classify:
    return Classify(visit_in(browser, **context), url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_follow_the_system_and_can_be_read(browser: Browser, url: str, scheme: str) -> None:
    classify = in_a_context(browser, url, color_scheme=scheme).open()
    colours = classify.page.evaluate(COLOURS)
    faint = {
        f"{front} on {back}": contrast
        for front, back, least in READABLE
        if (contrast := classify.page.evaluate(CONTRAST, [colours[front], colours[back]])) < least
    }
    assert faint == {}
    dark = classify.page.evaluate(CONTRAST, [colours["ground"], "rgb(0, 0, 0)"]) < 2
    assert dark == (scheme == "dark")
    classify.page.context.close()


@pytest.mark.parametrize(("system", "clicks", "chosen"), [("light", 2, "dark"), ("dark", 1, "light")])
def test_a_theme_can_be_chosen_and_is_kept(
    browser: Browser, url: str, system: str, clicks: int, chosen: str
) -> None:
    classify = in_a_context(browser, url, color_scheme=system).open()
    page = classify.page
    before = page.evaluate(COLOURS)["ground"]
    switch = page.locator("#theme")
    for _ in range(clicks):
        switch.click()
    expect(switch).to_have_text(f"Theme: {chosen}")
    after = page.evaluate(COLOURS)["ground"]
    assert after != before
    page.reload()
    expect(switch).to_have_text(f"Theme: {chosen}")
    assert page.evaluate(COLOURS)["ground"] == after
    page.context.close()


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_width_scrolls_to_the_side(browser: Browser, url: str, width: int) -> None:
    classify = in_a_context(browser, url, viewport={"width": width, "height": 800}).open()
    classify.page.get_by_text("Templates and scoring").click()
    classify.type("a label that is rather long, as people sometimes have them" * 3)
    classify.choose(("a.png", b"x"), ("a" * 100 + ".heic", b"\0\0\0\x18ftypheic"), ("b.jpg", b"y"))
    expect(classify.results.locator("tbody tr")).to_have_count(2, timeout=SECONDS)
    expect(classify.results).to_have_attribute("aria-busy", "false", timeout=SECONDS)
    for kind in ("curl", "Python", "gRPC"):
        classify.page.get_by_role("button", name=kind, exact=True).click()
        assert classify.page.evaluate("document.documentElement.scrollWidth") <= width
    classify.page.context.close()


def test_a_phone_offers_its_camera(browser: Browser, url: str) -> None:
    phone = in_a_context(
        browser, url, is_mobile=True, has_touch=True, viewport={"width": 375, "height": 812}
    ).open()
    expect(phone.page.locator("#classify input[capture=environment]")).to_have_count(1)
    expect(phone.page.get_by_role("button", name="Take a photo")).to_be_visible()
    expect(phone.page.get_by_text("or drop or paste them")).to_be_hidden()
    phone.page.context.close()

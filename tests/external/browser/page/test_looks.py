"""Colours, themes and widths: how the page looks."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.external.browser.page.classify import SECONDS, Classify
from tests.external.browser.visit import SCHEMES, Visit, in_a_browser, visit_in

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


def test_the_colours_follow_the_system_and_can_be_read(visit: Visit, url: str) -> None:
    page = visit.page
    page.goto(f"{url}/")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(COLOURS)
        faint = {
            f"{front} on {back}": contrast
            for front, back, least in READABLE
            if (contrast := page.evaluate(CONTRAST, [colours[front], colours[back]])) < least
        }
        assert faint == {}, scheme
        dark = page.evaluate(CONTRAST, [colours["ground"], "rgb(0, 0, 0)"]) < 2
        assert dark == (scheme == "dark")


def test_a_theme_can_be_chosen_and_is_kept(visit: Visit, url: str) -> None:
    page = visit.page
    page.goto(f"{url}/")
    switch = page.locator("#theme")
    # Against the system each time; auto comes between.
    for system, chosen in (SCHEMES, SCHEMES[::-1]):
        page.emulate_media(color_scheme=system)
        before = page.evaluate(COLOURS)["ground"]
        switch.click()
        switch.click()
        expect(switch).to_have_text(f"Theme: {chosen}")
        after = page.evaluate(COLOURS)["ground"]
        assert after != before
        page.reload()
        expect(switch).to_have_text(f"Theme: {chosen}")
        assert page.evaluate(COLOURS)["ground"] == after


def test_no_width_scrolls_to_the_side(classify: Classify) -> None:
    page = classify.page
    page.get_by_text("Templates and scoring").click()
    classify.type("a label that is rather long, as people sometimes have them" * 3)
    classify.choose(("a.png", b"x"), ("a" * 100 + ".heic", b"\0\0\0\x18ftypheic"), ("b.jpg", b"y"))
    expect(classify.results.locator("tbody tr")).to_have_count(2, timeout=SECONDS)
    expect(classify.results).to_have_attribute("aria-busy", "false", timeout=SECONDS)
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

"""Builds that take long, drops, keys, the keyboard and widths: the tab "label sets" as people meet it."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from tests.external.browser.page.classify import CAT
from tests.external.browser.page.label_sets import LabelSets, answering
from tests.external.browser.page.search import fifty_pictures
from tests.external.browser.visit import Visit, in_a_browser

pytestmark = in_a_browser

COFFEE = fifty_pictures()["coffee.jpg"]


def test_a_build_that_takes_long_is_followed(sets: LabelSets, url: str) -> None:
    def later(route: Route) -> None:
        if route.request.method != "PUT":
            route.continue_()
            return
        answer = route.fetch()
        body = answer.json() | {"state": "building", "prompts": 7, "prompts_done": 3}
        route.fulfill(status=202, json=body)

    sets.page.route(f"{url}/label-sets/pets", later)
    sets.make("pets", "cat", "dog")
    sets.panel.get_by_role("button", name="Save").click()
    expect(sets.about).to_have_text("3 of 7 prompts are encoded. ")
    expect(sets.about).to_contain_text(", ready, of the model demo")
    expect(sets.changes).to_contain_text("pets was created")


# Drops a file there. Returns how many places say that they would take it.
DROP = """([selector, name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], name, {type: "image/jpeg"}));
  const event = (kind) => new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
  const place = document.querySelector(selector);
  place.dispatchEvent(event("dragover"));
  const over = document.querySelectorAll(".over").length;
  place.dispatchEvent(event("drop"));
  return over;
}"""


def test_a_dropped_photo_goes_to_the_label_on_which_it_is_dropped(sets: LabelSets) -> None:
    sets.make("pets", "cat", "dog")
    second = "#label-sets [data-place=labels] > div:nth-child(2) .drop"
    assert sets.page.evaluate(DROP, [second, "a.jpg", list(CAT)]) == 1
    expect(sets.label("dog").locator(".name")).to_have_text(["a.jpg"])
    expect(sets.label("cat").locator(".name")).to_have_count(0)
    assert sets.page.evaluate(DROP, ["#label-sets .lead", "b.jpg", list(CAT)]) == 1
    expect(sets.panel.locator("[data-place=tried] .name")).to_have_text(["b.jpg"])
    expect(sets.label("dog").locator(".name")).to_have_text(["a.jpg"])


def test_a_key_that_manages_is_needed_to_save(visit: Visit, keyed: tuple[str, dict[str, str]]) -> None:
    url, keys = keyed
    sets = LabelSets(visit, url)
    for name in ("somebody", "keeper"):
        visit.page.goto(f"{url}/#label-sets")
        visit.page.get_by_label("This service asks for a key.").fill(keys[name])
        visit.page.keyboard.press("Enter")
        expect(visit.page.locator("#key-form")).to_be_hidden()
        sets.make("keyed", "cat", "dog")
        if name == "keeper":
            sets.save()
        else:
            sets.panel.get_by_role("button", name="Save").click()
            expect(sets.alert).to_contain_text("manage")
            visit.page.evaluate("sessionStorage.clear()")
            visit.page.goto("about:blank")
    answering(sets.page, accept=True)
    sets.panel.get_by_role("button", name="Delete").click()
    expect(sets.page.locator("#set-name")).to_have_value("")


FOCUSED = """() => {
  const at = document.activeElement;
  const name = at.getAttribute("aria-label") ?? (at.labels?.[0]?.textContent ?? at.textContent).trim();
  return [name, getComputedStyle(at).outlineStyle];
}"""


def tab_to(page: Page, name: str, most: int = 40) -> None:
    """Press Tab until this has the focus; the ring around each is visible."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused, ring = page.evaluate(FOCUSED)
        assert ring != "none", focused
        if focused == name:
            return
    raise AssertionError(f"{name} has no focus after {most} times Tab")


def test_everything_can_be_done_with_the_keyboard(sets: LabelSets, url: str) -> None:
    page = sets.page
    page.bring_to_front()
    page.locator("#tab-label-sets").focus()
    tab_to(page, "Name")
    page.keyboard.type("pets")
    tab_to(page, "Add labels")
    page.keyboard.type("cat,rocket")
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("rocket added")
    tab_to(page, "Background labels: what else pictures may show")
    page.keyboard.type("a wall")
    page.keyboard.press("Enter")
    tab_to(page, "Save")
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Saved. pets was created: cat, rocket.")
    sets.attempt(coffee=COFFEE)  # a dialog of the system, which has keys of its own
    tab_to(page, "Wrong: coffee.jpg")
    page.keyboard.press("Enter")
    tab_to(page, "Right label of coffee.jpg")
    choices = page.get_by_label("Right label of coffee.jpg")
    expect(choices).not_to_have_value("")  # they are filled in once the page hears that they are open
    right = choices.input_value()
    tab_to(page, "Add to its examples")
    page.keyboard.press("Enter")
    expect(sets.label(right).locator(".thumbnails")).to_contain_text("coffee.jpg")
    expect(page.get_by_label("Wrong: coffee.jpg")).to_be_focused()


def test_no_width_scrolls_to_the_side(sets: LabelSets) -> None:
    sets.make("a" * 64, "a label that is rather long, as people have them", "x" * 60, background="y" * 60)
    sets.save()
    sets.attempt(**{"z" * 80: COFFEE})
    sets.page.get_by_label("Wrong: zzz").click()
    sets.panel.get_by_role("button", name="Export").click()
    for width in (320, 375, 768, 1280):
        sets.page.set_viewport_size({"width": width, "height": 800})
        assert sets.page.evaluate("document.documentElement.scrollWidth") <= width, width

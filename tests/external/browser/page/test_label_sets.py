"""The tab "label sets" in a real browser with the demo model, as somebody uses it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.external.browser.page.classify import CAT
from tests.external.browser.page.label_sets import LabelSets
from tests.external.browser.page.search import fifty_pictures
from tests.external.browser.visit import Visit, in_a_browser
from tests.support.label_sets import built
from tests.support.process import delete, get, post

pytestmark = in_a_browser

PICTURES = fifty_pictures()


@pytest.fixture
def sets(visit: Visit, url: str) -> Iterator[LabelSets]:
    """The tab, open; the sets that are made with it are deleted."""
    yield LabelSets(visit, url).open()
    for each in get(f"{url}/label-sets").json()["label_sets"]:
        delete(f"{url}/label-sets/{each['name']}").raise_for_status()


def test_a_set_is_made_tried_and_mended(sets: LabelSets, url: str) -> None:
    sets.make("pets", "cat", "rocket", background="a wall")
    sets.give("cat", "cat.jpg", CAT)
    sets.give("rocket", "rocket.jpg", PICTURES["rocket.jpg"])
    sets.label("rocket").get_by_label("Prompts").fill("a rocket at night\na photo of a {}")
    sets.page.fill("#set-weight", "0.75")
    sets.save()
    made = get(f"{url}/label-sets/pets").json()
    assert [len(each["examples"]) for each in made["labels"]] == [1, 1]
    assert made["labels"][1]["prompts"] == ["a rocket at night", "a photo of a {}"]
    assert (made["example_weight"], made["background"]) == (0.75, ["a wall"])
    coffee = PICTURES["coffee.jpg"]
    sets.attempt(chelsea=PICTURES["chelsea.jpg"], coffee=coffee)
    assert sets.tried()["chelsea.jpg"].startswith("cat, ")
    assert sets.tried()["coffee.jpg"].startswith("rocket, ")
    sets.mark_wrong("coffee.jpg", "cat")
    sets.save()
    expect(sets.changes).to_contain_text("coffee.jpg: rocket → cat.")
    best = post(f"{url}/classify", files={"image": coffee}, data={"label_set": "pets"}).json()
    score = best["results"][0]["labels"][0]["score"]
    assert sets.tried()["coffee.jpg"] == f"cat, {100 * score:.1f} %"
    sets.visit.check(url)
    sets.page.once("dialog", lambda dialog: dialog.accept())
    sets.press("Delete")
    expect(sets.page.locator("#set-name")).to_have_value("")
    assert get(f"{url}/label-sets/pets").status_code == 404


def test_an_error_is_beside_its_label_and_nothing_is_lost_unasked(sets: LabelSets, url: str) -> None:
    example = base64.b64encode(CAT).decode()
    built(url, "kinds", {"labels": [{"label": label, "examples": [example]} for label in ("a", "b")]})
    sets.make("kinds", "cat")
    sets.press("Save")
    expect(sets.panel.get_by_role("alert")).to_contain_text("There is a label set kinds already")
    sets.page.fill("#set-name", "pets")
    sets.label("cat").get_by_label("Label", exact=True).fill("word " * 90)
    sets.press("Save")
    expect(sets.panel.locator("[data-place=labels]").get_by_role("alert")).to_contain_text("tokens")
    sets.page.reload()
    expect(sets.page.locator("#set-choice option[value=kinds]")).to_have_count(1)
    sets.page.select_option("#set-choice", "kinds")
    expect(sets.panel).to_contain_text("This page does not have all examples of a (1), b (1)")
    sets.press("Save")
    expect(sets.page.locator("#set-without")).to_be_focused()  # the browser asks for it

"""Making, trying and mending a label set, in a real browser, with the demo model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.external.browser.page.classify import CAT
from tests.external.browser.page.label_sets import LabelSets, answering
from tests.external.browser.page.search import fifty_pictures
from tests.external.browser.visit import in_a_browser
from tests.label_sets import built
from tests.process import PATIENT_WITH_CLIENTS, Process, get, post, put

pytestmark = in_a_browser

PICTURES = fifty_pictures()
COFFEE, ROCKET = PICTURES["coffee.jpg"], PICTURES["rocket.jpg"]
KINDS = {
    "labels": [{"label": label, "examples": [base64.b64encode(ROCKET).decode()]} for label in ("a", "b")]
}


def shown(url: str, name: str) -> dict[str, Any]:
    """What the service says of a set."""
    answer = get(f"{url}/label-sets/{name}")
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def with_pets(sets: LabelSets) -> None:
    """A set of two labels, one example each, and a background; saved."""
    sets.make("pets", "cat", "rocket", background="a wall")
    sets.give("cat", "cat.jpg", CAT)
    sets.give("rocket", "rocket.jpg", ROCKET)
    sets.save()


def test_a_set_is_made_tried_and_mended(sets: LabelSets, url: str) -> None:
    sets.make("pets", "cat", "rocket", background="a wall")
    sets.give("cat", "cat.jpg", CAT)
    sets.give("rocket", "rocket.jpg", ROCKET)
    sets.label("rocket").get_by_label("Prompts").fill("a rocket at night\na photo of a {}")
    sets.label("rocket").get_by_label("Threshold").fill("0.25")
    sets.page.fill("#set-weight", "0.75")
    sets.page.fill("#set-templates", "{}\n photo\n")
    sets.save()
    expect(sets.changes).to_contain_text("pets was created: cat, rocket.")
    made = shown(url, "pets")
    cat, rocket = made["labels"]
    assert (len(cat["examples"]), len(rocket["examples"])) == (1, 1)
    assert rocket["prompts"] == ["a rocket at night", "a photo of a {}"]
    assert (rocket["threshold"], made["example_weight"], made["background"]) == (0.25, 0.75, ["a wall"])
    assert made["templates"] == ["{}", "a photo of a {}."]

    sets.attempt(chelsea=PICTURES["chelsea.jpg"], coffee=COFFEE)
    before = sets.tried()
    assert before["chelsea.jpg"].startswith("cat, ")
    assert before["coffee.jpg"].startswith("rocket, ")
    sets.mark_wrong("coffee.jpg", "cat")
    sets.save()
    expect(sets.changes).to_contain_text("Label cat: examples 1 → 2.")
    expect(sets.changes).to_contain_text("coffee.jpg: rocket → cat.")
    after = sets.tried()
    said = post(f"{url}/classify", files={"image": COFFEE}, data={"label_set": "pets"}).json()
    best = said["results"][0]["labels"][0]
    assert after["coffee.jpg"] == f"cat, {100 * best['score']:.1f} %"
    loo = shown(url, "pets")["loo"]
    expect(sets.changes).to_contain_text(f"{100 * loo['accuracy']:.1f} % of 3 examples get their own label")
    assert shown(url, "pets")["version"] != made["version"]
    assert sets.visit.complaints == []
    assert sets.visit.elsewhere(url) == set()


def test_labels_and_options_that_change_are_told(sets: LabelSets) -> None:
    with_pets(sets)
    sets.page.fill("#set-add", "boat,")
    sets.page.get_by_role("button", name="Remove label rocket").click()
    expect(sets.label("boat").get_by_label("Label", exact=True)).to_be_focused()
    sets.page.fill("#set-threshold", "0.5")
    sets.save()
    for change in ("Label added: boat.", "Label removed: rocket.", "The set: threshold none → 0.5."):
        expect(sets.changes).to_contain_text(change)
    expect(sets.changes).not_to_contain_text("Label cat")
    sets.save()
    expect(sets.changes).to_contain_text("Nothing has changed.")


def test_a_picture_below_the_threshold_is_none(sets: LabelSets) -> None:
    sets.make("pets", "cat", "rocket")
    sets.page.fill("#set-threshold", "1")
    sets.save()
    sets.attempt(coffee=COFFEE)
    assert sets.tried() == {"coffee.jpg": "none"}


def test_what_is_exported_is_the_same_set_as_files(sets: LabelSets, url: str, tmp_path: Path) -> None:
    with_pets(sets)
    assert sets.export(tmp_path) == ["pets.json", "pets-1-1.jpeg", "pets-2-1.jpeg"]
    assert (tmp_path / "pets-1-1.jpeg").read_bytes() == CAT
    version = shown(url, "pets")["version"]
    process = Process(label_sets_folder=str(tmp_path), backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    read = built(process.url, "pets")
    assert (read["version"], read["read_only"]) == (version, True)

    there = LabelSets(sets.visit, process.url).open()
    there.choose("pets")
    expect(there.about).to_contain_text("It comes from a file")
    expect(there.label("cat").get_by_label("Label", exact=True)).to_be_disabled()
    for button in ("Save", "Delete", "Choose pictures"):
        expect(there.panel.locator("form").get_by_role("button", name=button)).to_have_count(0)
    there.attempt(coffee=COFFEE)
    assert there.tried()["coffee.jpg"].startswith("rocket, ")
    expect(there.page.get_by_label("Wrong: coffee.jpg")).to_be_hidden()
    there.page.goto("about:blank")
    assert process.stop()[0] == 0


def test_trained_weights_are_tried_and_not_lost(sets: LabelSets, url: str) -> None:
    model = get(f"{url}/v1/models").json()["data"][0]
    weights = base64.b64encode(bytes(4 * 2 * model["embed_dim"])).decode()
    fields = {"labels": ["cat", "rocket"], "weights": weights, "biases": [0, 9]}
    fields["expect_fingerprint"] = model["fingerprint"]
    built(url, "trained", fields)
    sets.page.reload()
    sets.choose("trained")
    expect(sets.about).to_contain_text("Its weights were trained")
    expect(sets.label("cat").get_by_label("Label", exact=True)).to_be_disabled()
    for button in ("Save", "Export"):
        expect(sets.panel.locator("form").get_by_role("button", name=button)).to_have_count(0)
    sets.attempt(coffee=COFFEE)
    assert sets.tried()["coffee.jpg"].startswith("rocket, ")
    answering(sets.page, accept=True)
    sets.panel.get_by_role("button", name="Delete").click()
    expect(sets.page.locator("#set-name")).to_have_value("")
    expect(sets.panel.get_by_role("button", name="Export")).to_be_visible()


def test_examples_from_elsewhere_are_not_lost_unasked(sets: LabelSets, url: str) -> None:
    built(url, "kinds", KINDS)
    sets.open()
    sets.page.reload()
    sets.choose("kinds")
    expect(sets.panel).to_contain_text("This page does not have all examples of a (1), b (1)")
    version = shown(url, "kinds")["version"]
    sets.page.fill("#set-threshold", "0.5")
    sets.panel.get_by_role("button", name="Save").click()
    sets.panel.get_by_role("button", name="Export").click()
    expect(sets.page.locator("#set-without")).to_be_focused()  # the browser asks for it
    assert shown(url, "kinds")["version"] == version
    sets.give("a", "rocket.jpg", ROCKET)
    sets.page.check("#set-without")
    sets.save()
    expect(sets.changes).to_contain_text("Label b: examples 1 → none.")
    expect(sets.page.locator("#set-without")).to_be_hidden()
    assert [len(each.get("examples", [])) for each in shown(url, "kinds")["labels"]] == [1, 0]


def test_photos_given_here_are_kept_while_other_sets_are_chosen(sets: LabelSets) -> None:
    with_pets(sets)
    sets.choose("")
    expect(sets.panel.locator("[data-place=labels] > div")).to_have_count(0)
    sets.choose("pets")
    expect(sets.label("cat").locator(".thumbnails")).to_contain_text("cat.jpg")
    expect(sets.page.locator("#set-without")).to_be_hidden()


def test_an_error_is_beside_its_label_in_the_words_of_the_api(sets: LabelSets, url: str) -> None:
    sets.make("pets", "cat", "word " * 90)
    sets.panel.get_by_role("button", name="Save").click()
    alert = sets.panel.locator("[data-place=labels] > div").nth(1).get_by_role("alert")
    said = put(f"{url}/label-sets/pets", json={"labels": ["cat", ("word " * 90).strip()]}).json()
    expect(alert).to_contain_text(said["detail"])
    expect(sets.alert).to_have_count(1)
    sets.label(("word " * 90).strip()).get_by_label("Label", exact=True).fill("dog")
    sets.save()
    expect(sets.alert).to_have_count(0)


def test_a_broken_photo_is_told_beside_its_label(sets: LabelSets) -> None:
    sets.make("pets", "cat", "dog")
    sets.give("dog", "broken.jpg", b"not a picture")
    sets.panel.get_by_role("button", name="Save").click()
    expect(sets.label("dog").get_by_role("alert")).to_contain_text("example 0 of label 1")


def test_a_new_set_does_not_take_the_place_of_another(sets: LabelSets, url: str) -> None:
    built(url, "pets", {"labels": ["cow"]})
    sets.make("pets", "cat")
    sets.panel.get_by_role("button", name="Save").click()
    expect(sets.alert).to_contain_text("There is a label set pets already")
    assert [each["label"] for each in shown(url, "pets")["labels"]] == ["cow"]


def test_deleting_asks_first(sets: LabelSets, url: str) -> None:
    with_pets(sets)
    asked = answering(sets.page, accept=False)
    sets.panel.get_by_role("button", name="Delete").click()
    assert asked == ["Delete the label set pets, its examples and its embeddings?"]
    assert shown(url, "pets")["name"] == "pets"
    answering(sets.page, accept=True)
    sets.panel.get_by_role("button", name="Delete").click()
    expect(sets.page.locator("#set-name")).to_have_value("")
    expect(sets.page.locator("#set-choice")).to_be_focused()
    assert get(f"{url}/label-sets/pets").status_code == 404
    assert sets.visit.complaints == []


def test_what_is_not_saved_is_not_left_unasked(sets: LabelSets) -> None:
    with_pets(sets)
    sets.page.fill("#set-add", "boat,")
    asked = answering(sets.page, accept=False)
    sets.page.select_option("#set-choice", "")
    assert asked == ["Your changes are not saved. Discard them?"]
    expect(sets.page.locator("#set-choice")).to_have_value("pets")
    expect(sets.label("boat")).to_be_visible()

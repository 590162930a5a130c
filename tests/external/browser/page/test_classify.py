"""Pictures and labels on the page, in a real browser, against what /classify says of the same."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.external.browser.page.classify import CAT, Classify, classified
from tests.external.browser.visit import in_a_browser
from tests.label_sets import built
from tests.process import delete, get, post
from tests.support import png

pytestmark = in_a_browser

EXAMPLE = ["cat", "dog", "rabbit", "car"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_an_example_is_classified_at_once(classify: Classify, url: str) -> None:
    shown = classify.shown()
    assert list(shown) == list(classified(url, EXAMPLE))
    assert shown == pytest.approx(classified(url, EXAMPLE), abs=1e-4)
    model = get(f"{url}/v1/models").json()["data"][0]
    facts = classify.page.locator("#classify [data-place=facts]")
    expect(facts).to_contain_text(model["fingerprint"])
    expect(facts).to_contain_text("encode_image")
    assert classify.visit.complaints == []
    assert classify.visit.elsewhere(url) == set()


def test_an_own_picture_takes_the_place_of_the_example(classify: Classify, url: str) -> None:
    picture = png(3, (300, 200))
    classify.choose(("mine.png", picture))
    expect(classify.page.locator("#classify .thumbnails .name")).to_have_text(["mine.png"])
    expect(classify.page.locator("#classify .thumbnails")).to_contain_text("300 \u00d7 200")
    expect(classify.results.locator(".bars li .label").first).to_have_text(
        next(iter(classified(url, EXAMPLE, picture)))
    )
    classify.wait_for(EXAMPLE)
    assert classify.shown() == pytest.approx(classified(url, EXAMPLE, picture), abs=1e-4)


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_can_be_pasted_and_dropped(classify: Classify, event: str) -> None:
    classify.page.evaluate(
        """async ([event, content]) => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
          data.items.add(new File([bytes], "there.png", {type: "image/png"}));
          const said = event === "paste"
            ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
            : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
          document.body.dispatchEvent(said);
          if (!said.defaultPrevented) throw new Error("the browser would have opened it");
        }""",
        [event, base64.b64encode(png(5)).decode()],
    )
    expect(classify.page.locator("#classify .thumbnails .name")).to_have_text(["there.png"])
    expect(classify.results).to_have_attribute("aria-busy", "false")
    assert classify.visit.complaints == []


def test_a_picture_on_the_clipboard_is_pasted_with_the_keyboard(classify: Classify, url: str) -> None:
    page = classify.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    page.bring_to_front()
    page.evaluate(
        """async (content) => {
          const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
          const picture = new Blob([bytes], {type: "image/png"});
          await navigator.clipboard.write([new ClipboardItem({"image/png": picture})]);
        }""",
        base64.b64encode(png(5)).decode(),
    )
    page.locator("#labels").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("#classify .thumbnails")).to_contain_text("40 \u00d7 30")
    expect(page.locator("#classify .thumbnails .name")).to_have_text(["image.png"])


def test_ten_labels_one_by_one_send_the_picture_once(classify: Classify, url: str) -> None:
    classify.remove_all_labels()
    for at, label in enumerate(NUMBERS, 1):
        classify.type(label)
        classify.wait_for(NUMBERS[:at])
    assert classify.shown() == pytest.approx(classified(url, NUMBERS), abs=1e-4)
    assert classify.sent("/classify") == 0
    assert classify.sent("/embed") == 1 + 1 + len(NUMBERS), (
        "the picture, the example's labels, each other label"
    )
    classify.page.get_by_role("button", name="Remove ten").click()
    classify.wait_for(NUMBERS[:9])
    assert classify.shown() == pytest.approx(classified(url, NUMBERS[:9]), abs=1e-4)
    assert classify.sent("/embed") == 12


def test_a_list_of_labels_can_be_pasted(classify: Classify, url: str) -> None:
    classify.remove_all_labels()
    classify.page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text", "cat, lorry\\nred wine\\n\\ncat,");
          document.getElementById("labels").dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }"""
    )
    classify.wait_for(["cat", "lorry", "red wine"])
    assert classify.shown() == pytest.approx(classified(url, ["cat", "lorry", "red wine"]), abs=1e-4)


@pytest.mark.parametrize(
    ("chosen", "own", "fields"),
    [
        ({"templates": "imagenet-7"}, None, {"templates": ["imagenet-7"]}),
        (
            {"templates": "own"},
            "a {} on a {label}\na drawing of {}",
            {"templates": ["a {} on a {label}", "a drawing of {}"]},
        ),
        ({"scoring": "sigmoid"}, None, {"scoring": "sigmoid"}),
        ({"scoring": "cosine"}, None, {"scoring": "cosine"}),
    ],
)
def test_scores_with_options_are_those_of_classify(
    classify: Classify, url: str, chosen: dict[str, str], own: str | None, fields: dict[str, Any]
) -> None:
    page = classify.page
    page.get_by_text("Templates and scoring").click()
    classify.type("a {} $& cat")  # a slot that a label brings is none
    for field, value in chosen.items():
        page.select_option(f"#{field}", value)
    if own:
        page.get_by_label("Own templates").fill(own)
    page.fill("#temperature", "2.5")
    labels = [*EXAMPLE, "a {} $& cat"]
    classify.wait_for(labels)
    assert classify.shown() == pytest.approx(classified(url, labels, temperature=2.5, **fields), abs=1e-4)


@pytest.mark.parametrize("scoring", ["softmax", "cosine"])
def test_background_labels_and_a_threshold_are_those_of_classify(
    classify: Classify, url: str, scoring: str
) -> None:
    page = classify.page
    page.get_by_text("Templates and scoring").click()
    page.select_option("#scoring", scoring)
    page.fill("#background", "a pet, kitten")
    options: dict[str, Any] = {"scoring": scoring, "background": ["a pet", "kitten"]}
    classify.wait_for(EXAMPLE)
    assert classify.shown() == pytest.approx(classified(url, EXAMPLE, **options), abs=1e-4)
    page.fill("#threshold", "0.3")
    above = classified(url, EXAMPLE, threshold=0.3, **options)
    classify.wait_for(list(above))
    assert 0 < len(above) < len(EXAMPLE)
    expect(classify.results).not_to_contain_text("A single label")
    assert classify.shown() == pytest.approx(above, abs=1e-4)
    page.fill("#threshold", "0.99")
    expect(classify.results).to_contain_text("No label reaches its threshold.")
    page.fill("#threshold", "2")
    expect(classify.results).to_contain_text("The threshold must be a number from -1 to 1.")


def test_only_the_best_are_shown(classify: Classify) -> None:
    classify.page.get_by_text("Templates and scoring").click()
    classify.page.fill("#best", "2")
    expect(classify.results.locator(".bars li")).to_have_count(2)
    expect(classify.results).to_contain_text("The best 2 of 4 labels.")


def test_the_class_names_of_a_data_set_can_be_the_labels(classify: Classify) -> None:
    classify.page.get_by_text("Templates and scoring").click()
    classify.page.select_option("#templates", "cifar10")
    classify.page.get_by_role("button", name="Use its 10 class names as labels").click()
    expect(classify.page.locator("#classify .chip")).to_have_count(10)
    expect(classify.results.locator(".bars .label").first).to_have_text("cat")


def test_cosine_and_logit_are_shown_on_demand(classify: Classify, url: str) -> None:
    detail = classify.results.locator(".detail").first
    expect(detail).to_be_hidden()
    classify.page.get_by_role("button", name="Cosine and logit").click()
    expect(detail).to_have_text("cosine 0.642, logit 7.705")


def test_several_pictures_are_a_table_in_which_a_broken_one_has_its_error(
    classify: Classify, url: str
) -> None:
    other = png(7)
    classify.choose(("cat.jpg", CAT), ("other.png", other), ("broken.jpg", CAT[:3000]))
    rows = classify.results.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(2)).to_contain_text("the image begins as JPEG but is broken or cut short.")
    expect(classify.results).to_have_attribute("aria-busy", "false")
    assert classify.results.locator("thead th").all_inner_texts() == ["Picture", *EXAMPLE]
    for at, content in enumerate((CAT, other)):
        said = classified(url, EXAMPLE, content)
        shown = [float(each.get_attribute("value") or "nan") for each in rows.nth(at).locator("data").all()]
        assert shown == pytest.approx([said[label] for label in EXAMPLE], abs=1e-4)


def test_a_label_set_of_the_service_can_be_used(classify: Classify, url: str) -> None:
    body = {"labels": ["cat", {"label": "car", "id": "7"}], "background": ["a wall"], "temperature": 3}
    built(url, "pets", body)
    classify.page.reload()
    classify.page.select_option("#label-set", "pets")
    classify.wait_for(["cat", "car"])
    expect(classify.results).to_contain_text("Label set pets, version ")
    said = post(f"{url}/classify", files={"image": CAT}, data={"label_set": "pets"}).json()
    expected = {each["label"]: each["score"] for each in said["results"][0]["labels"]}
    assert classify.shown() == pytest.approx(expected, abs=1e-4)
    delete(f"{url}/label-sets/pets").raise_for_status()


def test_very_many_prompts_are_left_to_the_service(classify: Classify, url: str) -> None:
    classify.page.get_by_text("Templates and scoring").click()
    classify.page.select_option("#templates", "imagenet-80")
    with classify.page.expect_request(f"{url}/classify"):  # what comes of it depends on the machine
        classify.page.fill("#labels", ",".join(f"thing {number}" for number in range(40)))

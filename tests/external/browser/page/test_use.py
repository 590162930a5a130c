"""Errors, keys, the keyboard, a proxy's prefix: the page as people meet it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from clipserve.demo import FOLDER as DEMO
from tests.external.browser.page.classify import CAT, Classify, classified
from tests.external.browser.visit import Visit, in_a_browser
from tests.process import PATIENT_WITH_CLIENTS, Process, copy_of_demo, post

pytestmark = in_a_browser

EXAMPLE = ["cat", "dog", "rabbit", "car"]


def test_an_error_is_told_in_the_words_of_the_api(classify: Classify, url: str) -> None:
    classify.type("word " * 90)
    alert = classify.results.get_by_role("alert")
    expect(alert).to_contain_text("text_too_long")
    said = post(f"{url}/embed", json={"texts": ["word " * 90]}).json()["detail"]
    expect(alert).to_contain_text(said.partition(" has ")[2])
    expect(alert).to_contain_text("This concerns the label “word word")
    classify.page.press("#labels", "Backspace")
    classify.wait_for(EXAMPLE)


def test_a_heic_picture_is_named_with_what_to_do(classify: Classify) -> None:
    classify.choose(("IMG_1.HEIC", b"\0\0\0\x18ftypheic" + bytes(100)))
    expect(classify.page.locator("#classify .thumbnails")).to_contain_text(
        "HEIC cannot be read here. Export it as JPEG"
    )
    expect(classify.results).to_contain_text("Add a picture")
    assert classify.visit.complaints == []


def test_a_template_without_a_slot_is_told(classify: Classify) -> None:
    classify.page.get_by_text("Templates and scoring").click()
    classify.page.select_option("#templates", "own")
    classify.page.get_by_label("Own templates").fill("a photo")
    expect(classify.results).to_contain_text("“a photo” needs one or two slots {} for the label; it has 0.")


def test_a_service_that_cannot_be_reached_is_told_and_tried_again(classify: Classify, url: str) -> None:
    classify.page.route(f"{url}/embed", lambda route: route.abort())
    classify.type("lorry")
    expect(classify.results.get_by_role("alert")).to_contain_text("unreachable")
    classify.page.unroute(f"{url}/embed")
    classify.page.get_by_role("button", name="Try again").click()
    classify.wait_for([*EXAMPLE, "lorry"])


def test_a_key_is_asked_for_used_and_forgotten_with_the_tab(
    visit: Visit, keyed: tuple[str, dict[str, str]]
) -> None:
    url, key = keyed[0], keyed[1]["somebody"]
    classify = Classify(visit, url)
    page = visit.page
    page.goto(f"{url}/")
    field = page.get_by_label("This service asks for a key.")
    expect(field).to_be_focused()
    field.fill("wrong")
    field.press("Enter")
    expect(page.locator("#key-problem")).not_to_be_empty()
    field.fill(key)
    field.press("Enter")
    classify.wait_for(EXAMPLE)
    expect(field).to_be_hidden()
    page.reload()
    classify.wait_for(EXAMPLE)
    expect(page.locator("#classify pre")).to_contain_text("Authorization: Bearer $CLIPSERVE_KEY")
    assert key not in page.content()
    kept = page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
    assert [key in each for each in kept] == [True, False, False]


def test_a_picture_of_too_many_bytes_is_told_in_the_words_of_the_api(
    classify: Classify, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(CAT + bytes(21_000_000))
    classify.page.locator("#classify input[type=file]").first.set_input_files(large)
    alert = classify.results.get_by_role("alert")
    expect(alert).to_contain_text("the limit is 20,000,000.")


def test_text_that_office_programs_copy_as_a_picture_too_becomes_labels(classify: Classify) -> None:
    classify.page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text/plain", "lorry\tbus");
          data.items.add(new File([new Uint8Array(9)], "cells.png", {type: "image/png"}));
          document.getElementById("labels").dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }"""
    )
    classify.wait_for([*EXAMPLE, "lorry", "bus"])
    expect(classify.page.locator("#classify .thumbnails .name")).to_have_text(["cat.jpg"])


def test_everything_can_be_done_with_the_keyboard(classify: Classify, url: str) -> None:
    page = classify.page
    page.bring_to_front()
    page.locator("#tab-classify").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-search")).to_be_focused()
    expect(page.locator("[role=tabpanel]:not([hidden])")).to_have_id("search")
    assert page.url.endswith("#search")
    page.go_back()
    expect(page.locator("#classify")).to_be_visible()
    page.go_forward()
    page.locator("#tab-search").focus()
    page.keyboard.press("Home")
    expect(page.locator("#classify")).to_be_visible()
    stops: list[tuple[str, str, str]] = []  # name, id, style of the ring around it
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (at === document.body) return ["", "", ""]; // behind the last
              const ring = getComputedStyle(at).outlineStyle;
              return [at.getAttribute("aria-label") ?? (at.textContent.trim() || at.id), at.id, ring];
            }"""
        )
        if not focused[0] or focused[0] in [name for name, *_ in stops]:
            break
        stops.append(tuple(focused))
        if focused[1] == "labels":
            page.keyboard.type("lorry")
            page.keyboard.press("Enter")
            classify.wait_for([*EXAMPLE, "lorry"])
    names = [name for name, *_ in stops]
    for expected in (
        "Theme: auto",
        "Choose pictures",
        "Remove cat.jpg",
        "Remove cat",
        "labels",
        "Cosine and logit",
        "Copy",
    ):
        assert expected in names
    assert {name for name, _, ring in stops if ring == "none"} == set(), "the focus is always visible"


def test_removing_a_chip_leaves_the_focus_among_the_chips(classify: Classify) -> None:
    classify.page.get_by_role("button", name="Remove dog").focus()
    classify.page.keyboard.press("Enter")
    expect(classify.page.get_by_role("button", name="Remove rabbit")).to_be_focused()


def test_the_example_can_be_taken_again(classify: Classify) -> None:
    classify.page.get_by_role("button", name="Remove cat.jpg").click()
    expect(classify.results).to_contain_text("Add a picture to see which labels fit it.")
    classify.page.get_by_role("button", name="Use the example").click()
    classify.wait_for(EXAMPLE)


def test_results_are_announced(classify: Classify) -> None:
    announcer = classify.page.locator("#announcer[aria-live=polite]")
    expect(announcer).to_have_text("cat.jpg: cat, 99.1 %")


def test_the_page_works_behind_a_prefix(visit: Visit, url: str) -> None:
    visit.page.route(
        f"{url}/clip/**", lambda route: route.continue_(url=route.request.url.replace("/clip/", "/"))
    )
    visit.page.goto(f"{url}/clip/")
    Classify(visit, url).wait_for(EXAMPLE)
    assert {address for address in visit.asked if not address.startswith((f"{url}/clip/", "blob:"))} == set()
    expect(visit.page.locator("#classify pre")).to_contain_text(f"{url}/clip/classify")
    assert visit.complaints == []


@pytest.fixture
def two_models(tmp_path: Path) -> Iterator[str]:
    """The address of a service with the demo model and another one, which has half its scale."""
    other = copy_of_demo(tmp_path)
    manifest = json.loads((other / "model.json").read_text())
    manifest["name"] = "other"
    manifest["scoring"]["logit_scale"] /= 2
    (other / "model.json").write_text(json.dumps(manifest))
    process = Process(models=f"{DEMO},{other}", backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


def test_a_model_can_be_chosen_where_there_are_several(visit: Visit, two_models: str) -> None:
    classify = Classify(visit, two_models).open()
    before = classify.shown()
    visit.page.get_by_label("Model").select_option("other")
    expect(visit.page.locator("#classify [data-place=facts]")).to_contain_text("other@")
    classify.wait_for(EXAMPLE)
    assert classify.shown() == pytest.approx(classified(two_models, EXAMPLE, model="other"), abs=1e-4)
    assert classify.shown() != pytest.approx(before, abs=1e-4)

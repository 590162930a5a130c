"""The tabs "classify" and "search" in a real browser with the demo model, as somebody uses them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Response, Route, expect

from tests.external.browser.page.classify import CAT, Classify, classified
from tests.external.browser.page.search import BROKEN, Search, fifty_pictures
from tests.external.browser.visit import Visit, in_a_browser
from tests.support.label_sets import built
from tests.support.process import delete, get, post
from tests.support.service import png

pytestmark = in_a_browser

EXAMPLE = ["cat", "dog", "rabbit", "car"]
PICTURES = fifty_pictures()
NAME = 'my, "cat";1 \'s.jpg'
NASTY = ['it\'s a "cat"; 5% of <it>', "back\\slash $HOME `id`"]


def ran(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_pictures_are_classified_as_the_service_does_it(visit: Visit, url: str, tmp_path: Path) -> None:
    classify = Classify(visit, url).open()
    page = visit.page
    assert classify.shown() == pytest.approx(classified(url, EXAMPLE), abs=1e-6)
    expect(page.locator("#announcer[aria-live=polite]")).to_have_text("cat.jpg: cat, 99.1 %")
    (tmp_path / NAME).write_bytes(CAT)
    classify.choose((NAME, CAT))
    classify.remove_all_labels()
    classify.type(*NASTY, "cat")
    page.get_by_text("Templates and scoring").click()
    page.select_option("#templates", "own")
    page.get_by_label("Own templates").fill("a 'photo' of {}\nno {label} & no more")
    for field, value in {"temperature": "2", "threshold": "0.001", "background": "a 'room', $HOME"}.items():
        page.fill(f"#{field}", value)
        page.press(f"#{field}", "Tab")
    asked: dict[str, Any] = {
        "templates": ["a 'photo' of {}", "no {label} & no more"],
        "background": ["a 'room'", "$HOME"],
        "temperature": 2,
        "threshold": 0.001,
    }
    for scoring in ("softmax", "sigmoid"):
        page.select_option("#scoring", scoring)
        said = classified(url, [*NASTY, "cat"], scoring=scoring, **asked)
        classify.wait_for(list(said))
        assert classify.shown() == pytest.approx(said, abs=1e-6)

    found = json.loads(ran(tmp_path, "bash", "-c", page.locator("#classify pre").inner_text()))
    assert {each["label"]: each["score"] for each in found["results"][0]["labels"]} == pytest.approx(said)
    page.get_by_role("button", name="Python", exact=True).click()
    printed = ran(tmp_path, sys.executable, "-c", page.locator("#classify pre").inner_text())
    assert len(re.findall("'score'", printed)) == len(said)

    classify.choose(("broken.jpg", CAT[:3000]))
    rows = classify.results.locator("tbody tr")
    expect(rows.nth(1)).to_contain_text("the image begins as JPEG but is broken or cut short.")
    visit.complaints.clear()  # that it was refused
    visit.check(url)


def test_a_label_set_is_used_and_an_error_is_told_in_the_words_of_the_api(visit: Visit, url: str) -> None:
    built(url, "pets", {"labels": ["cat", "car"], "temperature": 3})
    classify = Classify(visit, url).open()
    classify.page.select_option("#label-set", "pets")
    classify.wait_for(["cat", "car"])
    expect(classify.results).to_contain_text("Label set pets, version ")
    delete(f"{url}/label-sets/pets").raise_for_status()
    classify.page.select_option("#label-set", "")
    classify.type("word " * 90)
    alert = classify.results.get_by_role("alert")
    expect(alert).to_contain_text("text_too_long")
    classify.page.press("#labels", "Backspace")
    classify.wait_for(EXAMPLE)
    classify.page.route(f"{url}/classify", lambda route: route.abort())
    classify.type("lorry")
    expect(alert).to_contain_text("unreachable")
    classify.page.unroute(f"{url}/classify")
    classify.page.get_by_role("button", name="Try again").click()
    classify.wait_for([*EXAMPLE, "lorry"])


PASTE_OR_DROP = """([kind, content]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  data.items.add(new File([bytes], "there.png", {type: "image/png"}));
  const said = kind === "paste"
    ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
  document.body.dispatchEvent(said);
  if (!said.defaultPrevented) throw new Error("the browser would have opened it");
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_can_be_pasted_and_dropped(visit: Visit, url: str, kind: str) -> None:
    classify = Classify(visit, url).open()
    visit.page.evaluate(PASTE_OR_DROP, [kind, base64.b64encode(png(5)).decode()])
    expect(visit.page.locator("#classify .thumbnails .name")).to_have_text(["there.png"])
    expect(classify.results).to_have_attribute("aria-busy", "false")


def test_tabs_are_chosen_with_the_keyboard_and_have_addresses(visit: Visit, url: str) -> None:
    page = Classify(visit, url).open().page
    page.locator("#tab-classify").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-search")).to_be_focused()
    expect(page.locator("[role=tabpanel]:not([hidden])")).to_have_id("search")
    assert page.url.endswith("#search")
    page.go_back()
    expect(page.locator("#classify")).to_be_visible()


def test_the_page_works_behind_a_prefix(visit: Visit, url: str) -> None:
    visit.page.route(
        f"{url}/clip/**", lambda route: route.continue_(url=route.request.url.replace("/clip/", "/"))
    )
    visit.page.goto(f"{url}/clip/")
    Classify(visit, url).wait_for(EXAMPLE)
    assert {address for address in visit.asked if not address.startswith((f"{url}/clip/", "blob:"))} == set()


def test_a_key_is_asked_for_and_a_busy_service_is_asked_again(
    visit: Visit, keyed: tuple[str, dict[str, str]]
) -> None:
    url, keys = keyed
    refused: list[int] = []

    def note(answer: Response) -> None:
        if answer.url.endswith("/embed") and not answer.ok:
            refused.append(answer.status)

    visit.page.on("response", note)
    search = Search(visit, url).open()
    field = visit.page.get_by_label("This service asks for a key.")
    field.fill("wrong")
    field.press("Enter")
    expect(visit.page.locator("#key-problem")).not_to_be_empty()
    field.fill(keys["slow"])
    field.press("Enter")
    expect(field).to_be_hidden()
    search.choose({f"{at}.png": png(at) for at in range(6)})
    search.wait_ready(6)
    assert set(refused) == {429}
    assert keys["slow"] not in visit.page.content()
    kept = visit.page.evaluate(
        "[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]"
    )
    assert [keys["slow"] in each for each in kept] == [True, False, False]


def test_pictures_are_found_by_a_sentence_and_by_one_of_them(visit: Visit, url: str) -> None:
    search = Search(visit, url).open()
    search.choose(PICTURES | {"broken.jpg": BROKEN})
    search.wait_ready(50, failed=1)
    search.panel.get_by_text("1 picture could not be embedded").click()
    said = post(f"{url}/embed", files={"image": BROKEN}).json()
    expect(search.panel.locator(".failed li")).to_have_text([f"broken.jpg {said['detail']} ({said['code']})"])
    visit.complaints.clear()  # that it was refused
    shown = search.look_for("a rocket lifts off at night")
    assert next(iter(shown)) == "rocket.jpg"
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    some = list(PICTURES)[:30]
    forms = [("image", (name, PICTURES[name])) for name in some]
    asked = post(f"{url}/similarity", files=forms, data={"to_texts": "a rocket lifts off at night"})
    cosines = {name: each["cosine"][0] for name, each in zip(some, asked.json()["results"], strict=True)}
    assert cosines == pytest.approx({name: shown[name] for name in some}, abs=1e-4)
    before = search.sent("/embed")
    search.page.get_by_role("button", name="More like this: rocket.jpg").click()
    assert "rocket.jpg" not in search.found("rocket.jpg")
    assert search.sent("/embed") == before
    visit.check(url)


def test_vectors_of_another_fingerprint_are_never_compared(visit: Visit, url: str, tmp_path: Path) -> None:
    search = Search(visit, url).open()
    (tmp_path / "photos").mkdir()
    for at in range(4):
        (tmp_path / "photos" / f"{at}.png").write_bytes(png(at))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    search.panel.locator("input[webkitdirectory]").set_input_files(tmp_path / "photos")
    search.wait_ready(4)
    problem = {"code": "wrong_fingerprint", "detail": "the fingerprint is another one."}
    asked: list[str] = []

    def other_model(route: Route) -> None:
        asked.append(route.request.post_data or "")
        route.fulfill(status=409, json=problem)

    visit.page.route("**/embed", other_model)
    search.choose({"new.png": png(9)})
    expect(search.panel.get_by_role("alert")).to_contain_text("the fingerprint is another one.")
    assert get(f"{url}/v1/models").json()["data"][0]["fingerprint"] in asked[0]
    visit.page.unroute("**/embed")
    search.panel.get_by_role("button", name="Go on").click()
    search.wait_ready(5)
    assert len(search.look_for("noise")) == 5

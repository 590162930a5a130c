"""Searching among fifty pictures, in a real browser, with the demo model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, expect

from tests.external.browser.page.commands import run
from tests.external.browser.page.search import BROKEN, Search, fifty_pictures
from tests.external.browser.visit import Visit, in_a_browser, visit_in
from tests.process import post
from tests.support import png

pytestmark = in_a_browser

PICTURES = fifty_pictures()

# The demo model knows the things in a list of 1,000 nouns; four of the photographs show such a thing. A sentence
# was written for each, once, without trying others.
SENTENCES = {
    "a cat that looks at you": "chelsea.jpg",
    "a cup of coffee on a table": "coffee.jpg",
    "a rocket lifts off at night": "rocket.jpg",
    "a man with a camera on a tripod": "camera.jpg",
}


@pytest.fixture(scope="module")
def fifty(browser: Browser, url: str) -> Iterator[Search]:
    """The tab with fifty pictures, embedded once for the tests that only look among them."""
    search = Search(visit_in(browser), url).open()
    search.choose(PICTURES)
    search.wait_ready(50)
    assert search.sent("/embed") == 13  # four in a request
    yield search
    assert search.visit.complaints == []
    assert search.visit.elsewhere(url) == set()
    search.page.context.close()


@pytest.fixture
def search(visit: Visit, url: str) -> Search:
    return Search(visit, url).open()


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_right_one_of_fifty_pictures_comes_first(fifty: Search, sentence: str) -> None:
    assert next(iter(fifty.look_for(sentence))) == SENTENCES[sentence]


def test_the_numbers_are_the_cosines_of_the_service_in_order(fifty: Search, url: str) -> None:
    shown = fifty.look_for("a rocket at night")
    assert len(shown) == 50
    assert sorted(shown.values(), reverse=True) == list(shown.values())
    some = list(PICTURES)[:30]
    forms: list[Any] = [("image", (name, PICTURES[name])) for name in some]
    asked = post(f"{url}/similarity", files=[*forms, ("to_texts", (None, "a rocket at night"))])
    cosines = {name: each["cosine"][0] for name, each in zip(some, asked.json()["results"], strict=True)}
    assert cosines == pytest.approx({name: shown[name] for name in some}, abs=1e-4)


def test_pictures_can_be_looked_for_that_are_like_one_of_them(fifty: Search) -> None:
    before = fifty.sent("/embed")
    fifty.look_for("a cup of coffee on a table")
    fifty.page.get_by_role("button", name="More like this: rocket.jpg").click()
    shown = fifty.found("rocket.jpg")
    assert len(shown) == 49
    assert "rocket.jpg" not in shown
    assert fifty.sent("/embed") == before + 1  # the sentence: a picture is not embedded again
    expect(fifty.heading.locator("h2")).to_be_focused()
    fifty.page.get_by_role("button", name="Clear").click()
    expect(fifty.heading).to_contain_text("Your pictures")


def test_vectors_are_kept_in_the_memory_of_the_page_alone(fifty: Search) -> None:
    kept = fifty.page.evaluate(
        "async () => [Object.keys(localStorage), Object.keys(sessionStorage), (await indexedDB.databases()).length]"
    )
    assert kept == [["clipserve.theme"], [], 0]


def test_the_same_search_is_offered_as_a_command(fifty: Search, url: str) -> None:
    fifty.look_for("a man with a camera")
    code = fifty.panel.locator("pre code")
    expect(code).to_contain_text('{"texts": ["a man with a camera"]')
    fifty.panel.get_by_role("button", name="curl").click()
    expect(code).to_contain_text("--form-string 'to_texts=a man with a camera'")
    expect(code).to_contain_text(f"{url}/similarity")
    fifty.panel.get_by_role("button", name="Python").click()


def test_without_pictures_it_offers_an_example(search: Search, tmp_path: Path) -> None:
    search.page.get_by_role("button", name="Try an example").locator("visible=true").click()
    search.wait_ready(4)
    shown = search.found("“a cup of coffee”")
    assert len(shown) == 4
    assert next(iter(shown)) == "coffee.jpg"
    expect(search.panel.locator("[data-place=empty]")).to_be_hidden()
    printed = run([sys.executable, "-c", search.panel.locator("pre code").inner_text()], tmp_path)
    assert [line.split()[1] for line in printed.splitlines()] == list(shown)
    search.choose({"mine.jpg": PICTURES["coins.jpg"]})
    search.wait_ready(1)
    assert search.visit.complaints == []


def test_a_broken_picture_among_good_ones_fails_alone(search: Search, url: str) -> None:
    search.choose({"a.jpg": png(1), "broken.jpg": BROKEN, "b.jpg": png(2), "c.jpg": png(3), "d.jpg": png(4)})
    search.wait_ready(4, failed=1)
    search.panel.get_by_text("1 picture could not be embedded").click()
    said = post(f"{url}/embed", files={"image": BROKEN}).json()
    expect(search.panel.locator(".failed li")).to_have_text([f"broken.jpg {said['detail']} ({said['code']})"])
    assert set(search.look_for("anything")) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg"}
    search.panel.get_by_role("button", name="Leave them out").click()
    search.wait_ready(4)
    expect(search.panel.locator(".failed")).to_be_hidden()


def test_where_all_pictures_of_a_request_are_broken_each_is_told(search: Search) -> None:
    search.choose({f"{at}.jpg": BROKEN for at in range(3)})
    expect(search.progress).to_have_text("0 pictures ready, 3 not.")
    search.panel.get_by_text("3 pictures could not be embedded").click()
    expect(search.panel.locator(".failed li b")).to_have_text(["0.jpg", "1.jpg", "2.jpg"])


def test_a_sentence_that_is_too_long_is_told_in_the_words_of_the_api(search: Search, url: str) -> None:
    sentence = "cat " * 300
    search.page.fill("#sentence", sentence)
    search.page.press("#sentence", "Enter")
    said = post(f"{url}/embed", json={"texts": [sentence.strip()]}).json()
    expect(search.heading.get_by_role("alert")).to_contain_text(said["detail"])


def test_searching_works_with_the_keyboard_alone(search: Search) -> None:
    # Without a listener Chromium is asked for its dialogs only when one is awaited, beside the key that opens it.
    search.page.on("filechooser", lambda _: None)
    search.page.goto(search.url)
    expect(search.page.locator(".bars li")).to_have_count(4)  # the page has started
    search.page.locator("#tab-classify").focus()
    search.page.keyboard.press("ArrowRight")
    expect(search.page.locator("#tab-search")).to_be_focused()
    while search.page.evaluate("document.activeElement.textContent") != "Choose pictures":
        search.page.keyboard.press("Tab")
    with search.page.expect_file_chooser() as dialog:
        search.page.keyboard.press("Space")
    files = [FilePayload(name=f"{at}.png", mimeType="", buffer=png(at)) for at in range(5)]
    dialog.value.set_files(files)
    search.wait_ready(5)
    while search.page.evaluate("document.activeElement.id") != "sentence":
        search.page.keyboard.press("Tab")
    search.page.keyboard.type("noise")
    search.page.keyboard.press("Enter")
    first, *_ = search.found("“noise”")
    while search.page.evaluate("document.activeElement.textContent") != "More like this":
        search.page.keyboard.press("Tab")
    search.page.keyboard.press("Enter")
    assert first not in search.found(first)

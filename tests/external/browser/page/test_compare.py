"""Comparing labels, in a real browser, against what /similarity says of the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.external.browser.visit import Visit, in_a_browser
from tests.process import post

pytestmark = in_a_browser

LABELS = ["cat", "kitten", "truck", "a slice of bread"]


class Compare:
    """The tab, open in a page."""

    def __init__(self, visit: Visit, url: str) -> None:
        self.page, self.url = visit.page, url
        self.page.goto(f"{url}/#compare")
        self.panel = self.page.locator("#compare")

    def compare(self, labels: str, template: str = "") -> None:
        self.page.fill("#compared", labels)
        self.page.fill("#compared-template", template)
        self.page.get_by_role("button", name="Compare", exact=True).click()

    def matrix(self) -> list[list[float]]:
        rows = self.panel.locator("tbody tr")
        expect(rows.first).to_be_visible()
        cells: list[list[str]] = rows.evaluate_all(
            "all => all.map(row => [...row.querySelectorAll('data')].map(each => each.value))"
        )
        return [[float(value) for value in row] for row in cells]

    @property
    def said(self) -> Locator:
        return self.panel.locator(".competing")


@pytest.fixture
def tab(visit: Visit, url: str) -> Compare:
    return Compare(visit, url)


def similarity(url: str, texts: list[str]) -> list[list[float]]:
    answer = post(f"{url}/similarity", json={"texts": texts, "to_texts": texts})
    return [each["cosine"] for each in answer.raise_for_status().json()["results"]]


@pytest.mark.parametrize("between", [", ", "\n"])
def test_the_matrix_is_that_of_similarity(tab: Compare, visit: Visit, url: str, between: str) -> None:
    tab.compare(between.join(LABELS))
    assert tab.matrix() == similarity(url, LABELS)
    expect(tab.panel.locator("thead th")).to_have_text(LABELS)
    expect(tab.panel.locator("tbody th")).to_have_text(LABELS)
    assert visit.complaints == []
    assert visit.elsewhere(url) == set()


@pytest.mark.parametrize("template", ["a photo of a {}.", "a photo of a {label}."])
def test_a_template_is_put_around_each_label(tab: Compare, url: str, template: str) -> None:
    tab.compare("\n".join(LABELS), template)
    assert tab.matrix() == similarity(url, [f"a photo of a {label}." for label in LABELS])
    expect(tab.panel.locator("tbody th")).to_have_text(LABELS)


def test_the_two_that_compete_are_named(tab: Compare) -> None:
    tab.compare("\n".join(LABELS))
    expect(tab.said).to_contain_text("“cat” and “kitten” are the most alike")
    expect(tab.said).to_contain_text("compete for the same pictures")
    expect(tab.said).not_to_contain_text("truck")
    expect(tab.panel.locator("td.marked")).to_have_count(2)
    expect(tab.page.locator("#announcer")).to_contain_text("“cat” and “kitten”")


def test_a_label_that_is_there_twice_is_compared_once(tab: Compare) -> None:
    tab.compare("cat, dog, cat")
    assert len(tab.matrix()) == 2
    expect(tab.panel.get_by_text("2 labels; 1 more than once, compared once.")).to_be_visible()


@pytest.mark.parametrize(
    ("labels", "template", "said"),
    [("cat", "", "at least two different labels"), ("cat, dog", "a photo", "needs one or two slots {}")],
)
def test_what_cannot_be_compared_is_said_before_it_is_sent(
    tab: Compare, visit: Visit, labels: str, template: str, said: str
) -> None:
    tab.compare(labels, template)
    expect(tab.panel.get_by_role("alert")).to_contain_text(said)
    assert f"{tab.url}/similarity" not in visit.asked


def test_an_error_is_told_in_the_words_of_the_api(tab: Compare, url: str) -> None:
    long = "cat " * 300
    tab.compare(f"dog\n{long}")
    said = post(f"{url}/similarity", json={"texts": ["dog"], "to_texts": [long.strip()]}).json()
    alert = tab.panel.get_by_role("alert")
    expect(alert).to_contain_text(said["code"])
    expect(alert).to_contain_text("This concerns the label “cat cat")


def test_the_same_comparison_is_offered_as_a_command(tab: Compare, url: str) -> None:
    tab.compare("\n".join(LABELS))
    code = tab.panel.locator("pre code")
    expect(code).to_contain_text(f"{url}/similarity")
    for language, part in (("Python", "/similarity"), ("gRPC", "clipserve.v1.Clip/Similarity")):
        tab.panel.get_by_role("button", name=language).click()
        expect(code).to_contain_text(part)


def test_comparing_works_with_the_keyboard_alone(tab: Compare) -> None:
    expect(tab.panel.get_by_text("0 labels.")).to_be_visible()  # the page has started
    tab.page.locator("#tab-classify").focus()
    tab.page.keyboard.press("End")
    expect(tab.page.locator("#tab-label-sets")).to_be_focused()
    tab.page.keyboard.press("ArrowLeft")
    expect(tab.page.locator("#tab-compare")).to_be_focused()
    while tab.page.evaluate("document.activeElement.id") != "compared":
        tab.page.keyboard.press("Tab")
    tab.page.keyboard.type("cat, kitten, truck")
    while tab.page.evaluate("document.activeElement.textContent") != "Compare":
        tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    assert len(tab.matrix()) == 3
    while tab.page.evaluate("document.activeElement.className") != "table":  # a wide table can be scrolled
        tab.page.keyboard.press("Tab")

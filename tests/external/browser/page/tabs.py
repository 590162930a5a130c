"""Each tab of the page with results shown."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.external.browser.page.classify import CAT, Classify
from tests.external.browser.page.label_sets import LabelSets
from tests.external.browser.page.search import BROKEN, Search, fifty_pictures
from tests.external.browser.visit import Visit
from tests.process import delete


def classified(visit: Visit, url: str) -> None:
    Classify(visit, url).open()


def searched(visit: Visit, url: str) -> None:
    search = Search(visit, url).open()
    pictures = fifty_pictures()
    search.choose({"broken.jpg": BROKEN} | {name: pictures[name] for name in list(pictures)[:12]})
    search.wait_ready(12, failed=1)
    search.panel.get_by_text("1 picture could not be embedded").click()
    search.look_for("a cat that looks at you")


def mended(visit: Visit, url: str) -> None:
    sets = LabelSets(visit, url).open()
    sets.make("access", "cat", "rocket", background="a wall")
    sets.give("rocket", "cat.jpg", CAT)
    sets.save()
    sets.attempt(cat=CAT)
    sets.page.get_by_label("Wrong: cat.jpg").click()
    sets.page.get_by_role("button", name="Export").click()
    expect(sets.panel.locator(".files a")).to_have_count(2)
    sets.page.fill("#set-add", "cat,")  # it is there already: nothing is added
    sets.label("cat").get_by_label("Label", exact=True).fill("")
    sets.panel.get_by_role("button", name="Save").click()
    expect(sets.alert).to_be_visible()
    visit.complaints.clear()  # that it was refused
    delete(f"{url}/label-sets/access").raise_for_status()


TABS: dict[str, Callable[[Visit, str], None]] = {
    "classify": classified,
    "search": searched,
    "label-sets": mended,
}

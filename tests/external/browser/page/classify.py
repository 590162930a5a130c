"""The tab "classify" as somebody uses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import FilePayload, Locator, expect

from tests.external.browser.visit import Tab
from tests.support.process import ROOT, post

CAT = (ROOT / "docs" / "cat.jpg").read_bytes()


class Classify(Tab):
    """The tab, open in a page."""

    @property
    def results(self) -> Locator:
        return self.page.locator("#classify [data-place=results]")

    def open(self) -> Classify:
        """Go there, and wait for the example to be classified."""
        self.page.goto(f"{self.url}/")
        self.wait_for(["cat", "dog", "rabbit", "car"])
        return self

    def choose(self, *pictures: tuple[str, bytes]) -> None:
        """Choose files of these names."""
        files = [FilePayload(name=name, mimeType="", buffer=content) for name, content in pictures]
        self.page.locator("#classify input[type=file]").first.set_input_files(files)

    def type(self, *labels: str) -> None:
        """Type labels, with Enter after each."""
        for label in labels:
            self.page.fill("#labels", label)
            self.page.press("#labels", "Enter")

    def remove_all_labels(self) -> None:
        for _ in range(self.page.locator("#classify .chip").count()):
            self.page.press("#labels", "Backspace")

    def wait_for(self, labels: Sequence[str]) -> None:
        """Until there is a bar for each of these labels, in whatever order."""
        expect(self.results.locator(".bars li")).to_have_count(len(labels))
        for label in labels:
            exact = re.compile(f"^{re.escape(label)}$")
            expect(self.results.locator(".bars .label").filter(has_text=exact)).to_have_count(1)
        expect(self.results).to_have_attribute("aria-busy", "false")

    def shown(self) -> dict[str, float]:
        """The label and the score of each bar, best first."""
        items = self.results.locator(".bars li").all()
        return {
            item.locator(".label").inner_text(): float(item.locator("data").get_attribute("value") or "nan")
            for item in items
        }


def classified(url: str, labels: Sequence[str], content: bytes = CAT, **fields: Any) -> dict[str, float]:
    """What /classify says of a picture: label -> score, best first."""
    answer = post(f"{url}/classify", files={"image": content}, data={"labels": list(labels), **fields})
    answer.raise_for_status()
    return {each["label"]: each["score"] for each in answer.json()["results"][0]["labels"]}

"""What a built page would load from another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_FOREIGN = re.compile(r"(?:https?:)?//[\w-]+\.")


class Foreign(HTMLParser):
    """Collects what a page names of other hosts, but for links that a reader clicks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        for name, value in attrs:
            clicked = tag == "a" and name == "href"
            if not clicked and not name.startswith("xmlns") and _FOREIGN.match(value or ""):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        if self._style:
            self.found += foreign_in_style(data)


def foreign_in_style(text: str) -> list[str]:
    """What a style sheet loads from other hosts."""
    return re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", text)

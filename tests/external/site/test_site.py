"""The site that `make site` has built loads nothing from another host."""

from __future__ import annotations

import re

from tools.site import SITE, pages


def test_every_page_is_there_and_none_loads_anything_from_another_host() -> None:
    loads = re.compile(
        r"<(?!a\b)[a-z]+\b[^>]*\s(?:src|srcset|href)=\"(?:https?:)?//|url\([\"']?(?:https?:)?//"
    )
    found = [*(SITE / "html").rglob("index.html")]
    assert len(found) == len(pages()) + 3  # the references
    for path in [*found, *(SITE / "html").rglob("*.css")]:
        assert not loads.search(path.read_text()), path

"""The navigation of the site is the index of the documents."""

from __future__ import annotations

from typing import Any

from tests.docs import site
from tests.docs.markdown import ROOT, shown


def leaves(entries: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(entries, str):
        return [entries]
    parts = entries if isinstance(entries, list) else entries.values()
    return [leaf for part in parts for leaf in leaves(part)]


def test_the_navigation_has_every_page_of_docs_once() -> None:
    told = leaves(site.navigation())
    assert len(told) == len(set(told))
    assert {shown(page) for page in site.pages() if page.is_relative_to(ROOT / "docs")} <= set(told)

"""The navigation of the site is the index of the documents."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tests.docs import site
from tests.docs.foreign import Foreign
from tests.docs.markdown import ROOT, shown


def test_what_a_page_would_load_is_told_from_what_a_reader_clicks() -> None:
    page = '<a href="https://a.org">a</a><svg xmlns="http://www.w3.org/2000/svg"/><p>https://b.org</p>'
    assert Foreign(page).found == []
    page = '<script src="//c.org/x.js"></script><style>@import url(https://d.org/e.css)</style>'
    assert Foreign(page).found == ["<script src=//c.org/x.js>", "url(https://d.org/e.css"]


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


def test_the_sections_of_the_index_are_those_of_the_navigation() -> None:
    index = "\n".join(line for line in site.INDEX.read_text().splitlines() if line.startswith("#"))
    (guides,) = (section["Guides"] for section in site.navigation() if "Guides" in section)
    assert [title for part in guides for title in part] == re.findall(
        "^### (.+)", index.partition("## Guides\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert [title for section in site.navigation() for title in section] == [
        "Start",
        *(title for title in re.findall("^## (.+)", index, re.MULTILINE) if title != "Files here"),
    ]


def test_the_navigation_is_written_as_toml() -> None:
    entries = [{'A "b"': ["x.md", {"ä": "y.md"}]}]
    assert tomllib.loads(f"nav = {site.toml(entries)}")["nav"] == entries

"""Links of the documents lead somewhere, and the documents can be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, documents, links, shown

PAGES = [path for path in documents() if path.is_relative_to(ROOT / "docs")]


@pytest.mark.parametrize("document", documents(), ids=shown)
def test_the_links_of_a_page_lead_somewhere(document: Path) -> None:
    for path, anchor in links(document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), f"{shown(document)} links to {path}"
        if anchor and target.suffix == ".md":
            there = anchors(target.read_text())
            assert anchor in there, f"{shown(document)} links to {path}#{anchor}"


def linked(document: Path) -> set[Path]:
    """The files that it links to."""
    return {(document.parent / path).resolve() for path, _ in links(document.read_text()) if path}


def index_of(page: Path) -> Path:
    """The README.md of its folder, or of the nearest folder above that has another one."""
    indexes = (folder / "README.md" for folder in page.parents)
    return next(index for index in indexes if index != page and index.exists())


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_an_index_leads_to_the_page_and_the_page_back_to_it(page: Path) -> None:
    assert page in linked(index_of(page))
    assert index_of(page) in linked(page)

"""Links of the documents lead somewhere, and the documents can be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, documents, links, shown


@pytest.mark.parametrize("document", documents(), ids=shown)
def test_the_links_of_a_page_lead_somewhere(document: Path) -> None:
    for path, anchor in links(document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), f"{shown(document)} links to {path}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{shown(document)} links to {path}#{anchor}"


@pytest.mark.parametrize("page", [*(ROOT / "docs").rglob("*.md")], ids=shown)
def test_an_index_leads_to_the_page_and_the_page_back_to_it(page: Path) -> None:
    indexes = (folder / "README.md" for folder in page.parents)
    index = next(index for index in indexes if index != page and index.exists())
    for one, other in ((page, index), (index, page)):
        assert other in {(one.parent / path).resolve() for path, _ in links(one.read_text()) if path}

"""Blocks of `sh` or `python` in README.md and docs/ are run by a test, or say why not; indexes are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import OTHERWISE, RECIPES, RUNNABLE, Walk
from tests.support.process import Process
from tools.markdown import ROOT, blocks, documents, links, shown

PAGES = [path for path in documents() if path.is_relative_to(ROOT / "docs")]
WITH_PACKAGES = {path.stem for path in RECIPES}  # tests/external/clients walks through these


def walked(page: Path) -> bool:
    """Whether it has blocks that are to be run here."""
    told = [b for b in blocks(page.read_text()) if b.language in RUNNABLE and not OTHERWISE.match(b.note)]
    return bool(told) and page.stem not in WITH_PACKAGES


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if walked(page)], ids=shown)
def test_a_page_does_what_it_says(page: Path, folder: Path, demo: Process) -> None:
    walk = Walk(page, folder, demo)
    walk.walk()
    assert walk.installs <= {"httpx", "numpy", "openai", "scikit-image"}, "others: tests/docs/recipes/"


@pytest.mark.parametrize("page", documents(), ids=shown)
def test_a_block_that_is_not_run_here_names_its_test_or_says_why(page: Path) -> None:
    for block in blocks(page.read_text()):
        kind, _, what = block.note.partition(": ")
        where = f"line {block.line}: {block.note}"
        if kind == "run by":
            assert (ROOT / what).exists(), where
        elif kind == "run with":
            assert (ROOT / f"tests/external/clients/{what}.txt").exists(), where
        elif kind == "not run":
            assert len(what.split()) > 2, where
        else:
            assert page in PAGES or block.language not in RUNNABLE, f"{where}: no test runs this page"


@pytest.mark.parametrize("page", [*(ROOT / "docs").rglob("*.md")], ids=shown)
def test_an_index_leads_to_the_page_and_the_page_back_to_it(page: Path) -> None:
    indexes = (folder / "README.md" for folder in page.parents)
    index = next(index for index in indexes if index != page and index.exists())
    for one, other in ((page, index), (index, page)):
        assert other in {(one.parent / path).resolve() for path in links(one.read_text())}

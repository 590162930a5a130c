"""Every block of `sh` or `python` in README.md and docs/ is run by a test, or says why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import site
from tests.docs.markdown import ROOT, blocks, documents, has_code, note_of_all, shown
from tests.docs.test_recipes import LISTS
from tests.docs.walk import OTHERWISE, RUNNABLE, Walk
from tests.process import Process

PAGES = [path for path in documents() if path.is_relative_to(ROOT / "docs")]
WITH_PACKAGES = {path.stem for path in LISTS}  # test_recipes.py walks through these


def walked(page: Path) -> bool:
    """Whether it has blocks that are to be run here."""
    return page.stem not in WITH_PACKAGES and any(
        block.language in RUNNABLE and not OTHERWISE.match(block.note) for block in blocks(page.read_text())
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if walked(page)], ids=shown)
def test_a_page_does_what_it_says(page: Path, folder: Path, demo: Process) -> None:
    walk = Walk(page, folder, demo)
    walk.walk()
    assert walk.installs <= {"httpx", "numpy", "openai", "scikit-image"}, "others: tests/docs/recipes/"


def assert_told(note: str, where: str) -> bool:
    """Whether a comment says something of blocks, which then is true."""
    kind, _, what = note.partition(": ")
    if kind == "run by":
        assert (ROOT / what).exists(), f"{where}: there is no {what}"
    elif kind == "run with":
        assert (ROOT / f"tests/external/clients/{what}.txt").exists(), f"{where}: there is no list {what}"
    elif kind == "not run":
        assert len(what.split()) > 2, f"{where}: say why"
    else:
        return False
    return True


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=shown)
def test_a_block_that_is_not_run_here_names_its_test_or_says_why(page: Path) -> None:
    for block in blocks(page.read_text()):
        told = assert_told(block.note, f"line {block.line}")
        if not told and page == ROOT / "README.md":
            assert block.language not in RUNNABLE, f"line {block.line}: README.md is run by tests/e2e/"


@pytest.mark.parametrize(
    "page", [page for page in site.pages() if page not in [ROOT / "README.md", *PAGES]], ids=shown
)
def test_any_other_page_of_the_site_says_it_of_all_its_blocks(page: Path) -> None:
    text = page.read_text()
    note = note_of_all(text)
    assert bool(note) == has_code(text), "say it in a comment: <!-- blocks: not run: REASON -->"
    assert not note or assert_told(note, "all blocks")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=shown)
def test_commands_stand_in_fenced_blocks(page: Path) -> None:
    for number, line in enumerate(page.read_text().splitlines(), 1):
        assert not line.startswith("    make "), f"line {number}"
        assert not line.startswith("    clipserve"), f"line {number}"

"""What recipes install, `recipes/NAME.txt` for the page `NAME.md`, and which photos they take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

LISTS = sorted((Path(__file__).parent / "recipes").glob("*.txt"))


def page_of(packages: Path) -> Path:
    """The page that installs what this list names."""
    (page,) = (ROOT / "docs").rglob(f"{packages.stem}.md")
    return page


@pytest.mark.parametrize("packages", LISTS, ids=lambda path: path.stem)
def test_the_packages_of_a_recipe_are_those_that_it_installs(packages: Path) -> None:
    told = re.findall(r"^pip install (.+)$", page_of(packages).read_text(), re.MULTILINE)
    names = {re.sub(r"\W*\[.*?\]|'", "", name) for line in told for name in line.split()}
    assert names == set(re.findall(r"^([\w-]+)(?:\[\w+\])?==", packages.read_text(), re.MULTILINE))


def test_recipes_take_photos_whatever_the_case_and_the_length_of_their_suffix(tmp_path: Path) -> None:
    pages = {page.name: page.read_text() for page in (ROOT / "docs/recipes").glob("*.md")}
    patterns = {found for text in pages.values() for found in re.findall(r'\.glob\("(\*\.\S*?)"\)', text)}
    photos = [tmp_path / name for name in ("a.jpg", "b.JPG", "c.jpeg", "d.JPEG")]
    for path in (*photos, tmp_path / "e.png"):
        path.touch()
    for pattern in patterns - {"*.parquet"}:
        assert sorted(tmp_path.glob(pattern)) == photos, pattern

"""What recipes install: `recipes/NAME.txt` for the page `NAME.md`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

LISTS = sorted((Path(__file__).parent / "recipes").glob("*.txt"))


def page_of(packages: Path) -> Path:
    """The page that installs what this list names."""
    return ROOT / f"docs/recipes/{packages.stem}.md"


@pytest.mark.parametrize("packages", LISTS, ids=lambda path: path.stem)
def test_the_packages_of_a_recipe_are_those_that_it_installs(packages: Path) -> None:
    told = re.findall(r"^pip install (.+)$", page_of(packages).read_text(), re.MULTILINE)
    names = {re.sub(r"\W*\[.*?\]|'", "", name) for line in told for name in line.split()}
    assert names == set(re.findall(r"^([\w-]+)(?:\[\w+\])?==", packages.read_text(), re.MULTILINE))

"""The records of decisions have one form, an index that agrees with them, and a line for each dependency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docs.markdown import ROOT

FOLDER = ROOT / "docs/decisions"
INDEX = (FOLDER / "README.md").read_text()
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_says_status_context_decision_and_consequences(record: Path) -> None:
    text = record.read_text()
    assert "Status: " in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_index_has_number_and_title_of_every_record() -> None:
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|", INDEX, re.MULTILINE)
    headings = [f"# {number}. {title}" for number, title, _ in rows]
    assert [name for _, _, name in rows] == [record.name for record in RECORDS]
    assert headings == [record.read_text().splitlines()[0] for record in RECORDS]


def dependencies() -> set[str]:
    """The names in all pyproject.toml files."""
    names = set()
    for folder in ("", "service", "models"):
        told = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
        project = told.get("project", {})
        lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
        lists += told.get("dependency-groups", {}).values()
        names |= {Requirement(line).name for lines in lists for line in lines}
    return names


def test_every_dependency_has_a_line_that_says_why() -> None:
    rows = re.findall(r"^\| (`.+?) \| .+ \|$", (FOLDER / "dependencies.md").read_text(), re.MULTILINE)
    told = set(re.findall(r"`([^`]+)`", " ".join(rows)))
    assert {name for name in told if not name.startswith("@")} == dependencies()

"""The records of decisions have one form, and each dependency a line that says why it is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docs.markdown import ROOT

FOLDER = ROOT / "docs/decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_says_decision_cost_figure_and_when_to_look_again(record: Path) -> None:
    text = record.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Decided", "Cost", "Figure", "Look again"]


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
    told = set(re.findall(r"`([^`]+)`", " ".join(row.partition(" | ")[0] for row in rows)))
    assert {name for name in told if not name.startswith("@")} == dependencies()

"""Each dependency has a line that says why it is there."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.docs.markdown import ROOT

FOLDER = ROOT / "docs/decisions"


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

"""The documents say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import service
from service.settings import Settings, as_markdown, unknown_variables

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_table_of_settings_shows_them_as_they_are() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    table = text.partition("<!-- python -m service settings -->\n")[2].partition(
        "\n<!-- end of settings -->"
    )[0]
    assert table == as_markdown(), "replace the table by the output of: python -m service settings"


def test_every_setting_has_a_description_and_a_lower_bound_or_a_choice() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_architecture_names_every_file_of_the_service() -> None:
    files = {path.relative_to(ROOT / "service").as_posix() for path in (ROOT / "service").rglob("*.py")}
    told = set(re.findall(r"^\| `([\w/]+\.py)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE))
    assert told == {name for name in files if not name.endswith("__init__.py")}


def test_links_between_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_lock_files_hold_no_addresses() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("lock", "lists"),
    [
        ("service", ["dependencies", "cpu"]),
        ("service-gpu", ["dependencies", "gpu"]),
        ("openvino", ["openvino"]),
        ("dev", ["dev"]),
    ],
)
def test_a_lock_file_pins_what_pyproject_asks_for(lock: str, lists: list[str]) -> None:
    project = PYPROJECT["project"]
    every = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    every |= PYPROJECT["dependency-groups"]
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in lines}
    for line in (line for name in lists for line in every[name]):
        asked = Requirement(line)
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), f"{line}: run make lock"


def test_the_version_is_pyproject_s() -> None:
    assert service.__version__ == PYPROJECT["project"]["version"]


def test_misspelled_variables_are_found() -> None:
    assert unknown_variables(["CLIPSERVE_PORT", "CLIPSERVE_PROT", "PATH"]) == ["CLIPSERVE_PROT"]

"""The documents say what the code does."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clipserve
import clipserve_models
from clipserve.settings import Settings
from loadtests.__main__ import cli
from tests.docs.markdown import documents
from tests.tables import TABLES, made

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT, SERVICE, MODELS = (
    tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in ("", "service", "models")
)


def test_the_table_of_constants_shows_them_as_they_are() -> None:
    text = (ROOT / "docs/settings.md").read_text().partition("\n## Limits that are constants\n")[2]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \| .+ \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `")
    for name, value, place in rows:
        assert pkgutil.resolve_name(f"clipserve.{place}") == int(value.replace(",", "")), name


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(("page", "name"), TABLES, ids=[name for _, name in TABLES])
def test_a_table_is_what_the_code_says(page: str, name: str) -> None:
    assert made(page, name) == TABLES[page, name](), "write it anew with: make docs"


def makefile_targets() -> set[str]:
    return {name for names in re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE) for name in names.split()}


def test_documents_name_targets_of_the_makefile() -> None:
    for document in documents():
        named = re.findall(
            r"(?:^    |^|`)(?:\w+=\S+ )*make ([a-z][\w-]*)", document.read_text(), re.MULTILINE
        )
        assert set(named) <= makefile_targets(), document


def test_documents_name_load_tests_and_parts_of_make_test_all() -> None:
    load_tests = set(typer.main.get_group(cli).commands)
    folders = {path.name for path in (ROOT / "tests/external").iterdir() if path.is_dir()} - {"__pycache__"}
    listed = re.search(r"^PARTS := (.+)\nFOLDERS := \$\(PARTS\) (.+)$", MAKEFILE, re.MULTILINE)
    assert listed
    parts = set(" ".join(listed.groups()).split())
    assert parts | {"deploy", "site"} == folders
    for document in documents():
        text = document.read_text()
        assert set(re.findall(r"-m loadtests ([a-z][\w-]*)", text)) <= load_tests, document
        named = " ".join(a or b for a, b in re.findall(r'\bONLY=(?:"([\w ]+)"|(\w+))', text))
        assert set(named.split()) <= parts, document


def test_pre_commit_runs_a_target_of_the_makefile() -> None:
    hooks = re.findall(r"^ +entry: make (\S+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks
    assert set(hooks) <= makefile_targets()


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.findall(r"^## (.+)", changelog, re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title) for title in released)
    kinds = re.findall(r"^### (.+)", changelog, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_lock_files_hold_no_addresses() -> None:
    for path in (*(ROOT / "requirements").iterdir(), ROOT / "tests/deploy/package-lock.json"):
        assert "://" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("lock", "lists"),
    [
        ("dev", ["dependencies", "server", "cpu", "heif", "mcp", "openvino", "parquet", "tracing", "video"]),
        ("dev", ["dev", "build", "deploy", "dist", "site"]),
        ("service", ["dependencies", "server", "cpu"]),
        ("image-cpu", ["dependencies", "server", "cpu", "heif", "openvino", "tracing"]),
        ("image-gpu", ["dependencies", "server", "gpu", "heif", "tracing"]),
        ("build", ["build"]),
        ("sbom", ["sbom"]),
    ],
)
def test_a_lock_file_pins_what_pyproject_asks_for(lock: str, lists: list[str]) -> None:
    project = SERVICE["project"]
    every = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    every |= PYPROJECT["dependency-groups"]
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in lines}
    for line in (line for name in lists for line in every[name]):
        asked = Requirement(line)
        if asked.name == "clipserve-models":  # of this checkout: not pinned, and its dependencies are
            own = {canonicalize_name(Requirement(each).name) for each in MODELS["project"]["dependencies"]}
            assert own - {"clipserve-core"} <= pins.keys(), "run make lock"
            continue
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), f"{line}: run make lock"


def test_all_distributions_have_one_version() -> None:
    assert clipserve.__version__ == clipserve_models.__version__
    own = f"=={clipserve.__version__}"
    assert f"clipserve-core[server]{own}" in MODELS["project"]["dependencies"]
    for extra, name in (("cpu", "clipserve"), ("gpu", "clipserve-gpu")):
        assert f"clipserve-models{own}" in SERVICE["project"]["optional-dependencies"][extra]
        project = tomllib.loads((ROOT / f"service/distributions/{name}/pyproject.toml").read_text())[
            "project"
        ]
        assert project["version"] == clipserve.__version__
        assert project["dependencies"] == [f"clipserve-core[server,{extra}]{own}"]


def test_both_distributions_have_the_licence_of_the_repository() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert [(ROOT / folder / "LICENSE").read_text() for folder in ("service", "models")] == [licence] * 2

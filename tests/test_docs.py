"""The documents say what the code does."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
import typer

from loadtests.__main__ import cli
from tools.markdown import documents
from tools.tables import TABLES, made

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(" ".join(re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE)).split())
PARTS = set(
    " ".join(re.findall(r"^(?:PARTS|FOLDERS) := (?:\$\(PARTS\) )?(.+)$", MAKEFILE, re.MULTILINE)).split()
)


def test_the_table_of_constants_shows_them_as_they_are() -> None:
    text = (ROOT / "docs/settings.md").read_text().partition("\n## Limits that are constants\n")[2]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \| .+ \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `")
    for name, value, place in rows:
        assert pkgutil.resolve_name(f"clipserve.{place}") == int(value.replace(",", "")), name


@pytest.mark.parametrize(("page", "name"), TABLES, ids=[name for _, name in TABLES])
def test_a_table_is_what_the_code_says(page: str, name: str) -> None:
    assert made(page, name) == TABLES[page, name](), "write it anew with: make docs"


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        pytest.param(r"(?m)(?:^    |^|`)(?:\w+=\S+ )*make ([a-z][\w-]*)", TARGETS, id="targets"),
        pytest.param(r"-m loadtests ([a-z][\w-]*)", set(typer.main.get_group(cli).commands), id="load tests"),
        pytest.param(r'\bONLY="?([\w ]+(?=")|\w+)', PARTS, id="parts of make test-all"),
    ],
)
def test_documents_name_commands_that_exist(pattern: str, known: set[str]) -> None:
    texts = [document.read_text() for document in documents() if document.name != "CHANGELOG.md"]
    named = {name for text in texts for found in re.findall(pattern, text) for name in found.split()}
    assert named
    assert named - known == set()


def test_the_way_of_a_photo_names_functions_that_exist() -> None:
    walk = (
        (ROOT / "ARCHITECTURE.md").read_text().partition("\n## The way of a photo\n")[2].partition("\n## ")[0]
    )
    functions = re.findall(r"^- `([\w.]+)`", walk, re.MULTILINE)
    assert len(functions) > 4
    for name in functions:
        pkgutil.resolve_name(f"clipserve.{name}")

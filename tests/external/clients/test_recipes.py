"""Recipes that need packages of their own, which are installed into `.clients/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walk import RECIPES, SECONDS, SETTINGS, Walk
from tests.external.clients.environments import installed
from tests.support.process import Process
from tools.markdown import ROOT, Block, blocks

WITH_CLIENTS = [
    (page, block)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for block in blocks(page.read_text())
    if block.note.startswith("run with: ")
]


@pytest.fixture(scope="module")
def other() -> Iterator[Process]:
    """A service that makes vectors of another fingerprint."""
    process = Process(exif_transpose="false", **SETTINGS)
    process.wait_ready(SECONDS)
    yield process
    assert process.stop()[0] == 0


@pytest.mark.parametrize("packages", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_works_and_refuses_a_mix(
    packages: Path, folder: Path, demo: Process, other: Process
) -> None:
    if "pgvector" in packages.read_text() and "PGHOST" not in os.environ:
        pytest.skip(
            "no PostgreSQL: run it in Debian's pg_virtualenv, with the package postgresql-17-pgvector"
        )
    walk = Walk(ROOT / f"docs/recipes/{packages.stem}.md", folder, demo, installed(packages))
    walk.walk()
    refused = walk.again(other)
    assert len(refused) > 1, "no photo gets in, and no question is answered"
    for each in refused:
        assert each.returncode != 0
        assert "vectors of the two cannot be compared" in each.stderr


@pytest.mark.parametrize(
    ("page", "block"), WITH_CLIENTS, ids=[f"{page.stem}-{block.line}" for page, block in WITH_CLIENTS]
)
def test_a_block_runs_with_the_packages_of_a_client(
    page: Path, block: Block, folder: Path, demo: Process
) -> None:
    packages = ROOT / f"tests/external/clients/{block.note.removeprefix('run with: ')}.txt"
    Walk(page, folder, demo, installed(packages)).do(block)

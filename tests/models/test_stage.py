"""The stage `export` looks for tests in a few folders only: to collect all takes each process ten seconds."""

from __future__ import annotations

import re

from tests.process import ROOT


def test_every_test_of_the_export_is_in_a_folder_that_its_stage_names() -> None:
    (named,) = re.findall(
        r"^only-export: PYTEST_ARGS := .*?((?: tests/\w+)+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    folders = [ROOT / folder for folder in named.split()]
    of_it = [path for path in (ROOT / "tests").rglob("test_*.py") if "mark.export" in path.read_text()]
    assert [path for path in of_it if not any(map(path.is_relative_to, folders))] == []
    assert len(of_it) > 5

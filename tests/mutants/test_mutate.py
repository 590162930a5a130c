"""Which changes are made, that the floors' faults fit, and that a mutant is found again where code has moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.floors import FAULTS
from tests.mutants.mutate import mutants_of

ROOT = Path(__file__).parents[2]

SOURCE = '''"""Ü."""
LIMIT = 3


@cached(1)
def close(of: int = 2) -> bool:
    """Not 4."""
    log.info("%s", of)
    worker.stop(of)
    if not of or of + 1 < LIMIT:
        raise ValueError(f"{of - 1}")
    return of == 5
'''


@pytest.fixture
def changes(tmp_path: Path) -> dict[str, str]:
    """By the key of each mutant of SOURCE the line that it changes, as it becomes."""
    (tmp_path / "a.py").write_text(SOURCE)
    return {
        each.key: each.apply(SOURCE.encode()).decode().splitlines()[each.line - 1].strip()
        for each in mutants_of(tmp_path, "a.py")
    }


def test_one_expression_or_statement_of_a_function_changes(changes: dict[str, str]) -> None:
    assert sorted(changes.values()) == [
        "if (not of and of + 1 < LIMIT):",
        "if bool(of) or of + 1 < LIMIT:",
        "if not of or (of - 1) < LIMIT:",
        "if not of or of + 1 <= LIMIT:",
        "if not of or of + 2 < LIMIT:",
        "pass",
        "return None",
        "return of != 5",
        "return of == 6",
    ]


def test_a_mutant_keeps_its_name_where_lines_move(changes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n\n" + SOURCE)
    assert {each.key for each in mutants_of(tmp_path, "a.py")} == set(changes)


@pytest.mark.parametrize("floor", FAULTS)
def test_a_floor_s_fault_can_still_be_made(floor: str) -> None:
    fault = FAULTS[floor]
    assert (ROOT / fault.path).read_text().count(fault.before) == 1

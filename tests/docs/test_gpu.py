"""The table of docs/gpu.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs/gpu.md").read_text(), re.MULTILINE)


def test_every_line_names_a_test_that_is_there() -> None:
    assert [int(number) for number, _ in ROWS] == [*range(1, 19)]
    for number, cells in ROWS:
        tests = re.findall(r"`((?:tests|deploy)/[\w/.]+\.(?:py|yml))`", cells.split(" | ")[2])
        assert tests, number
        assert all((ROOT / path).is_file() for path in tests), number

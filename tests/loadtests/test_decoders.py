"""Decoders of JPEG beside the service: the program that measures, on what is installed here, and its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from loadtests.bodies import photo
from loadtests.decoders import decoders_table

ROOT = Path(__file__).parents[2]


def test_what_is_not_installed_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "0.jpg").write_bytes(photo(640, 480))
    done = subprocess.run(
        [sys.executable, ROOT / "loadtests/peers/decoders_table.py", tmp_path, "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = json.loads(done.stdout)
    assert measured["missing"]["simplejpeg"] == "No module named 'simplejpeg'"
    own = {row["way"]: row for row in measured["rows"]}["the service"]
    assert (own["largest"], own["mean"]) == (0, 0.0)
    assert own["ms"] > 0
    assert "Left out: simplejpeg" in decoders_table(measured)


def test_the_table_has_a_row_for_each_way_and_a_column_for_each_set() -> None:
    rows = [
        {"way": way, "photos": photos, "ms": ms, "largest": 3, "mean": 0.25}
        for way, ms in (("one", 1.0), ("two", 2.5))
        for photos in ("small", "large")
    ]
    lines = decoders_table({"versions": {"Pillow": "13"}, "missing": {}, "rows": rows}).splitlines()
    assert lines[0].endswith("| small | large |")
    assert lines[2:4] == [
        "| one | 1.00 (3, 0.25) | 1.00 (3, 0.25) |",
        "| two | 2.50 (3, 0.25) | 2.50 (3, 0.25) |",
    ]
    assert lines[-1] == "Pillow 13"

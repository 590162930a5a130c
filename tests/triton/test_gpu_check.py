"""`python -m loadtests gpu-check --device cpu`: the whole of the check, against a real Triton on this CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest

pytestmark = pytest.mark.triton

ROOT = Path(__file__).parents[2]
MANIFEST = read_manifest(ROOT / "service/clipserve/demo")


def test_it_compares_measures_and_reports_on_a_cpu(triton_installed: None, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    command = [sys.executable, "-m", "loadtests", "gpu-check", "--device", "cpu", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--out", out], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(out.read_text())["variants"].values()
    assert found["fingerprint"] == MANIFEST.fingerprint()
    assert found["lengths"] == MANIFEST.text.lengths
    assert found["cosines"]["kept"]
    for tower, cosines in found["cosines"]["towers"].items():
        assert list(cosines["rows"]) == ["1", "2", "3", "7"]
        assert list(cosines["lengths"]) == [str(each) for each in MANIFEST.text.lengths] * (tower == "text")
        every = [
            cosines["manifest"],
            cosines["alone"],
            *cosines["rows"].values(),
            *cosines["lengths"].values(),
        ]
        assert min(every) > 0.9999
        whole, half = found["rates"][tower]
        assert whole["rows"] > 0
        assert half["asked_rows"] == pytest.approx(whole["rows"] / 2, rel=1e-3)
        assert not half["failed"]
    assert [run["gateways"] for run in found["gateways"]] == [1, 2]
    for run in found["gateways"]:
        assert run["images"] > 0
        assert run["failed"] == 0
        assert run["rows_an_execution"] >= 1
    assert "| python-fp32 | 2 | 16 | " in done.stdout

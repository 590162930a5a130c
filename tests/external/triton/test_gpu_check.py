"""`python -m loadtests gpu-check --triton`: the whole of it, at a real Triton on this CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from tests.external.triton.conftest import Triton
from tests.support.process import ROOT


def test_vectors_of_a_triton_are_compared(triton: Triton, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests", "gpu-check", "--triton", triton.url]
    options = ["--most", "3", "--out", str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=600)
    (file,) = tmp_path.iterdir()
    passed = {line["what"]: line["passed"] for line in json.loads(file.read_text())["lines"]}
    names = ["image", *(f"text of {length} tokens" for length in (16, 32, 77))]
    for name in names:
        for rows in (1, 2, 3):
            assert passed[f"{name}, {rows} rows against the CPU, lowest cosine"] is True
        assert passed[f"{name}, alone against in a batch, lowest cosine"] is True
    assert [what for what in passed if "against the export" in what]
    assert False not in passed.values(), done.stdout
    assert done.returncode == 0, done.stderr
    assert "| Triton fp32 | image, 3 rows against the CPU, lowest cosine |" in done.stdout


def test_a_triton_that_serves_another_model_is_told(triton: Triton, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    manifest = json.loads((DEMO / "model.json").read_text())
    manifest["prompt_templates"] = ["another {}"]
    manifest["files"]["image.onnx"] = "0" * 64
    (other / "model.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "loadtests", "gpu-check", str(other), "--triton", triton.url]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"Triton serves {read_manifest(DEMO).fingerprint()}, and none of the artifacts" in done.stdout

"""`python -m loadtests gpu-check`: its judgements, and that it runs, here on the CPU.

tests/external/triton/test_gpu_check.py runs it at a real Triton.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from loadtests.gpu.encoders import Encoder, judged
from loadtests.gpu.findings import Findings, Line, at_least
from tests.support.process import ROOT

# Modules of other packages and of the tests: where a GPU is they may be missing.
TOOLS = ("clipserve_models", "skimage", "httpx", "hypothesis", "pytest", "yaml")
WITHOUT_TOOLS = (
    f"import sys; sys.modules.update(dict.fromkeys({TOOLS}))\n"
    "import runpy; sys.argv[0] = 'loadtests'; runpy.run_module('loadtests', run_name='__main__')"
)


def checked(folder: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    command = [sys.executable, "-c", WITHOUT_TOOLS, "gpu-check", *options, "--out", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert folder.is_dir(), ended.stdout + ended.stderr
    (file,) = folder.iterdir()
    return ended.returncode, ended.stdout, json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.nightly  # tests/triton/test_gpu_check.py runs it by day
def test_the_gpu_check_runs_on_a_cpu_with_the_service_alone_and_every_line_holds(tmp_path: Path) -> None:
    status, said, data = checked(tmp_path / "out", "--device", "cpu", "--most", "2")
    lines = {f"{line['part']}, {line['what']}": line["passed"] for line in data["lines"]}
    assert status == 0, said
    assert lines["fp32, image, 2 rows against the CPU, lowest cosine"] is True
    assert lines["fp32, text of 77 tokens, alone against in a batch, lowest cosine"] is True
    assert lines["fp32, image, against the export, lowest cosine"] is True
    assert lines["service, fp32, /classify against the CPU's, same first label"] is True
    assert False not in lines.values()
    assert data["facts"]["fp32"] == read_manifest(DEMO).fingerprint()
    assert "| fp32 | image, 2 rows against the CPU, lowest cosine |" in said


def test_without_a_gpu_it_fails_with_the_reason(tmp_path: Path) -> None:
    status, said, data = checked(tmp_path / "out")
    (line,) = data["lines"]
    assert (status, line["what"], line["passed"]) == (1, "CUDA", False)
    assert line["value"].startswith("no NVIDIA GPU is found")
    assert "1 of 1 refuted" in said


@pytest.mark.parametrize(
    ("precision", "found", "passed"),
    [
        ("fp32", [1.0, 0.99995], [False]),
        ("fp32", [1.0, float("nan")], [False]),
        ("fp16", [1.0, 0.99995], [True, True]),
        ("fp16", [1.0, 0.9997], [True, False]),
        ("fp16", [1.0] * 99 + [0.999], [False, True]),
    ],
)
def test_fp32_is_judged_by_the_worst_row_and_fp16_by_the_mean_too(
    precision: str, found: list[float], passed: list[bool]
) -> None:
    encoder = Encoder("name", precision, lambda _: np.zeros((1, 1), np.float32))
    assert [line.passed for line in judged(encoder, "image", np.array(found))] == passed


def test_what_was_measured_before_a_part_failed_or_the_run_was_killed_is_in_the_file(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "check.json")

    def measuring() -> Iterator[Line]:
        yield at_least("fp32", "1 row", 1.0, 0.9)
        kept = json.loads(findings.path.read_text())
        assert [line["what"] for line in kept["lines"]] == ["1 row"], "a kill here would lose it"
        raise RuntimeError("out of memory")

    with findings.trying("fp32", "image"):
        findings.add(measuring())
    kept = json.loads(findings.path.read_text())
    assert [line["passed"] for line in kept["lines"]] == [True, False]


def test_the_document_starts_triton_as_compose_does(tmp_path: Path) -> None:
    """Its command is run by a shell, with a docker that only writes down what it is told."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    _, _, *words = compose["services"]["triton"]["command"]
    document = (ROOT / "docs/triton.md").read_text()
    (line,) = re.findall(r"^docker run .*tritonserver(?:.*\\\n)*.*$", document, re.MULTILINE)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TRITON_IMAGE": "triton:1"}
    ran = subprocess.run(["sh", "-euc", line], env=environment, capture_output=True, text=True, check=True)
    options, _, server = ran.stdout.partition("triton:1\ntritonserver\n")
    assert [word for word in words if word not in server.splitlines()] == []
    told = options.splitlines()
    assert "--network=host" in told

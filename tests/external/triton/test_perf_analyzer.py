"""NVIDIA's perf_analyzer measures our models and OpenAI's route by the commands of the documents."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.external.triton.conftest import ROOT, Triton, up
from tests.external.triton.python_backend import write_models
from tests.support.process import Process

_WHEEL = (
    "perf-analyzer==2.60.0 --hash=sha256:23ef56b107ae9233e5cf09fbdf508dd9b936a52f1bae2f63f53c8117087b3f25"
)
_SECTION = (ROOT / "docs/triton.md").read_text().partition("\n## Triton alone")[2].partition("\n## ")[0]
_LINES = re.findall(r"^(?:perf_analyzer -m|echo) .+$", _SECTION, re.MULTILINE)
_OPENAI = re.findall(
    r"^(?:perf_analyzer -m demo|echo) .+$", (ROOT / "docs/production.md").read_text(), re.MULTILINE
)
# What the demo model takes in a call, and as few calls as can be measured.
_SMALL = {
    "ViT-B-32": "demo",
    "-b 64": "-b 4",
    "-b 256": "-b 8",
    "--concurrency-range 1:8": "--concurrency-range 2",
    "--concurrency-range 8": "--concurrency-range 2",
    "--request-count 500": "--request-count 8",
}


@pytest.fixture(scope="module")
def perf_analyzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its program, installed."""
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 38) or platform.machine() != "x86_64":
        pytest.skip("perf_analyzer on PyPI is for x86-64 Linux with glibc 2.38")
    folder = tmp_path_factory.mktemp("perf")
    (folder / "wheel.txt").write_text(_WHEEL)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*install, "--target", folder / "site", "-r", folder / "wheel.txt"], check=True)
    return folder / "site" / "perf_analyzer" / "bin" / "perf_analyzer"


def test_the_commands_of_the_page_measure_a_real_triton(
    perf_analyzer: Path, triton_installed: None, tmp_path: Path
) -> None:
    assert _WHEEL.split()[0] in _SECTION
    write_models(DEMO, tmp_path / "models", instances=1)
    server = Triton(tmp_path / "models", tmp_path / "log.txt")
    try:
        up(server)
        measured = [run(line, perf_analyzer, server.url, tmp_path) for line in _LINES]
    finally:
        server.kill()
    outputs = [output for output in measured if output]  # the line that writes the texts prints nothing
    assert len(outputs) == 2
    for output in outputs:
        # Triton's own count, to which it may add a call only after it has answered: not always all eight.
        assert int(re.findall(r"Successful request count: (\d+)", output)[0]) > 0
        assert float(re.findall(r"Throughput: ([\d.]+) infer/sec", output)[0]) > 0


def test_the_commands_of_the_page_measure_openai_s_route(
    perf_analyzer: Path, demo_process: Process, tmp_path: Path
) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    address = demo_process.url.removeprefix("http://")
    _, output = [run(line, perf_analyzer, address, tmp_path) for line in _OPENAI]
    assert int(re.findall(r"Request count: (\d+)", output)[0]) > 0
    assert float(re.findall(r"Throughput: ([\d.]+) infer/sec", output)[0]) > 0


def run(line: str, program: Path, address: str, folder: Path) -> str:
    """What a line of a page prints, with the demo model."""
    for old, new in _SMALL.items():
        line = line.replace(old, new)
    line = re.sub(r"127\.0\.0\.1:80\d\d", address, line).replace("perf_analyzer -m", f"{program} -m")
    done = subprocess.run(["bash", "-ec", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout

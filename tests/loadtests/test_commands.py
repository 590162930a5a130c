"""The commands, from the command line to the report, on servers that are small and quick."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve.clip.manifest import Source
from clipserve_models.build import build
from loadtests.__main__ import cli
from loadtests.load import Answer, Load
from loadtests.turns import turns_table
from tests.models.towers import CLIP, checkpoint_of
from tests.support.service import Running

ROOT = Path(__file__).parents[2]


async def test_a_server_that_runs_already_is_measured(running: Running) -> None:
    command = ["scenario", "embed-320x240", "--url", running.url, "--rate", "40", "--seconds", "0.3"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert result.exit_code == 0, result.output
    assert "| embed-320x240 | open, 40/s | 12 |" in result.output


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(cli, ["scenario", "embed-1x1"])
    assert result.exit_code == 2
    assert "embed-12mp" in result.output


@pytest.mark.slow
def test_the_service_is_measured_beside_the_bare_loops_of_its_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    build(checkpoint_of(CLIP), tmp_path / "small", name="small", source=source, say=lambda _: None)
    result = CliRunner().invoke(cli, ["limit", str(tmp_path / "small"), "--rounds", "1", "--seconds", "0.2"])
    assert result.exit_code == 0, result.output
    loops = re.findall(
        r"^\| bare loop, (\w+ \w+), .+ \| ([\d.]+) \| .+ \| .+ \|$", result.output, re.MULTILINE
    )
    assert {name for name, _ in loops} == {"onnxruntime fp32", "openvino fp32"}
    assert all(float(rate) > 0 for _, rate in loops)


def test_a_stranger_on_the_network_does_not_import_the_service() -> None:
    # rpc_loop: the messages of clip.proto alone.
    imports = re.compile(r"^\s*(from|import) clipserve\b", re.MULTILINE)
    found = {path.stem for path in (ROOT / "loadtests").glob("*.py") if imports.search(path.read_text())}
    assert found == {"fake_backend", "fake_service", "rpc_loop"}


def test_servers_are_compared_by_the_ratios_of_each_round() -> None:
    """Not by the ratio of the medians: the machine was slow in one round."""

    def load(answers: int, latency: float) -> Load:
        return Load(1.0, [Answer(0.0, 0.0, latency, 200, good=True)] * answers, 0.0)

    turns = {"one": [load(n, 0.1) for n in (2, 40, 10)], "two": [load(n, 0.05) for n in (6, 80, 20)]}
    rows = [line.split(" | ") for line in turns_table("server", {"texts": turns}).splitlines()[2:]]
    assert [row[1:5] for row in rows] == [
        ["one", "10.0", "1.00 (1.00 to 1.00)", "100"],
        ["two", "20.0", "2.00 (2.00 to 3.00)", "50"],
    ]

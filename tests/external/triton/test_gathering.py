"""`python -m loadtests gathering`: two gateways in turns, in front of a real Triton with fake encoders."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from loadtests.__main__ import cli
from tests.process import ROOT


@pytest.mark.usefixtures("triton_installed")
def test_a_gateway_that_gathers_and_one_that_does_not_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, ["gathering", "--clients", "4", "--seconds", "0.3", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    rows = [
        line.strip("| ").split(" | ")
        for line in result.output.splitlines()
        if ", 4 c" in line or ", 1 c" in line
    ]
    assert [row[:2] for row in rows if row[1] in ("one for each request", "rows of several")] == [
        [what, calls]
        for what in ("short texts, 4 clients", "short texts, 1 client",
                     "JPEGs of 320 x 240, 4 clients", "JPEGs of 320 x 240, 1 client")
        for calls in ("one for each request", "rows of several")
    ]  # fmt: skip
    for row in (row for row in rows if len(row) == 7):
        assert float(row[2].replace(",", "")) > 0
        assert row[-1] == "0", "all are answered"

"""Clocks that are wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.commands.doctor.asking import doctor
from tests.commands.doctor.http import answering
from tests.process import copy_of_demo


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_clock_that_is_not_the_collector_s(ahead: float) -> None:
    with answering(ahead) as url:
        told = doctor("--only", "clock", otlp_endpoint=url)
    line = told.only("problem")
    assert told.status == 1
    assert f"s {'behind' if ahead > 0 else 'ahead of'} that of the collector of traces" in line["found"]
    assert "NTP" in line["do"]


def test_a_clock_that_is_the_collector_s_is_no_fault() -> None:
    with answering() as url:
        assert doctor("--only", "clock", otlp_endpoint=url).status == 0


def test_a_clock_that_is_before_a_file_was_made(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    later = time.time() + 3 * 86_400
    os.utime(copy / "model.json", (later, later))
    line = doctor("--only", "clock", models=copy).only("problem")
    assert f"before {copy / 'model.json'} was made" in line["found"]

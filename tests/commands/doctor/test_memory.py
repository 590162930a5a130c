"""The sum of docs/memory.md, and what there is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding
from clipserve.commands.doctor.limits import bound, memory, rows
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from tests.process import ROOT

TWO_CORES = {"decode_threads": 2}


def test_the_sum_is_that_of_the_document() -> None:
    text = (ROOT / "docs" / "memory.md").read_text()
    told = [int(each) for each in re.findall(r"\| ([\d,]+) MB \|$", text, re.MULTILINE)]
    settings = Settings(models=(DEMO,), **TWO_CORES)  # type: ignore[arg-type]
    ready, most = bound(Context(settings))
    assert [round(each / 1e6) for each in (ready, *rows(settings).values())] == told
    assert f"Together {most / 1e9:.1f} GB." in text


def test_without_grpc_it_takes_less() -> None:
    least = rows(Settings(models=(DEMO,), grpc_enabled=False, **TWO_CORES))  # type: ignore[arg-type]
    assert least["grpc messages"] == least["grpc metadata"] == 0


def found(folder: Path, limit: str, where: str = "memory.max") -> Finding:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text("0::/\n7:memory:/\n")
    (folder / "cgroup" / where).parent.mkdir(parents=True)
    (folder / "cgroup" / where).write_text(limit)
    made = Context(Settings(models=(DEMO,), **TWO_CORES), proc=folder / "proc", cgroup=folder / "cgroup")  # type: ignore[arg-type]
    (finding,) = memory(made)
    return finding


@pytest.mark.parametrize(
    ("limit", "level", "whose"),
    [
        ("max\n", "ok", "the machine has"),
        ("1000000000\n", "warning", "1,000 MB"),
        ("200000000\n", "problem", "200 MB"),
    ],
)
def test_what_there_is_is_compared_with_it(
    tmp_path: Path, limit: str, level: str, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    finding = found(tmp_path, limit)
    assert finding.level == level
    assert whose in finding.found
    assert (finding.do is None) == (level == "ok")


def test_a_limit_of_cgroup_v1_is_seen_and_a_huge_one_is_none(tmp_path: Path) -> None:
    v1 = "memory/memory.limit_in_bytes"
    assert "the limit of" in found(tmp_path / "small", "200000000\n", v1).found
    assert "the machine has" in found(tmp_path / "none", "9223372036854771712\n", v1).found

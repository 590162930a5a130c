"""The quota of a container, not the host's cores."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clipserve.cores import processor, usable_cores, yield_to_event_loop

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", AFFINITY), ("50000 100000", 1), ("100000 100000", 1)]
)
def test_cgroup_v2(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", AFFINITY), ("10000", 1)])
def test_cgroup_v1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cores(tmp_path) == cores


def test_without_a_cgroup_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == AFFINITY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_threads_that_compute_and_those_they_start_come_after_the_event_loop() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def with_a_thread_of_its_own() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as started:
            return priority(), started.submit(priority).result()

    with ThreadPoolExecutor(1, initializer=yield_to_event_loop) as computing:
        mine, inherited = computing.submit(with_a_thread_of_its_own).result()
    assert priority() < mine == inherited


def test_a_processor_is_what_it_is_and_can_and_not_how_fast_it_runs_now(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    told = set()
    for mhz, flags in (("2500.1", "avx2"), ("3100.9", "avx2"), ("2500.1", "avx2 avx512_bf16")):
        core = f"model name\t: Xeon\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n"
        cpuinfo.write_text(f"processor\t: 0\n{core}\nprocessor\t: 1\n{core}")
        told.add(processor(cpuinfo))
    assert told == {"model name\t: Xeon\nflags\t\t: avx2", "model name\t: Xeon\nflags\t\t: avx2 avx512_bf16"}

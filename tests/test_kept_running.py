"""Loops in the background: one that fails is logged and begins anew."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve import concurrency
from clipserve.access.key_file import add_key, following
from clipserve.concurrency import kept_running
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.errors import BackendFailed
from clipserve.telemetry.metrics import Metrics
from tests.support.logs import Log
from tests.support.virtual_time import virtual_time
from tests.support.waiting import until

SECONDS = 60  # to notice a hang
_ROW = np.zeros((1, 1))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "_AGAIN_SECONDS", 0.01)  # it is a second


@virtual_time
async def test_a_loop_that_fails_is_logged_and_begins_anew(written: Log) -> None:
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun <= 3:
            raise ValueError(f"fault {begun}")

    await kept_running("a loop", loop)
    assert [(line["event"], line["loop"]) for line in written.lines] == [("loop_failed", "a loop")] * 3
    assert "ValueError: fault 1" in written.lines[0]["exception"]


async def test_keys_are_followed_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    add_key(path, "old", ["use"])
    async with following(path) as keys:
        failed = []

        def fails(_: Path) -> Any:
            failed.append(1)
            raise ValueError("a fault")

        with monkeypatch.context() as patch:
            patch.setattr("clipserve.access.key_file.read_keys", fails)
            new = add_key(path, "new", ["use"])
            await until(lambda: bool(failed))
        await until(lambda: keys.find(f"Bearer {new}") is not None)


async def test_a_batcher_outlives_a_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(*_: Any) -> Any:
        return [[1.0]]

    batcher = DynamicBatcher("text", run, BatchPolicy(1), metrics := Metrics())
    monkeypatch.setattr(metrics, "batch", lambda *_: 1 / 0)
    batcher.start()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(BackendFailed):
            await batcher.submit(_ROW)
        monkeypatch.undo()
        assert await batcher.submit(_ROW) is not None
    await batcher.aclose()


def test_in_a_program_that_embeds_it_nothing_is_written_to_its_outputs() -> None:
    """Neither of a loop nor of an image that is not fetched: lines are for its `logging`."""
    code = """
import asyncio
from clipserve.concurrency import kept_running
from clipserve.errors import ImageNotFetched
from clipserve.fetching.fetcher import Fetcher
from clipserve.telemetry.metrics import Metrics

async def loop():
    raise ValueError("fault")

async def main():
    task = kept_running("a loop", loop)
    try:
        async with Fetcher([], 1_000, Metrics()).fetched("https://a.test/", "a"):
            pass
    except ImageNotFetched:
        print("not fetched")
    await asyncio.sleep(0.1)
    task.cancel()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert (done.stdout, done.stderr) == ("not fetched\n", "")

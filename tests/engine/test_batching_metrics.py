"""What the batcher counts: how long rows wait, and how many batches can run."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.errors import BackendFailed
from clipserve.telemetry.metrics import Metrics
from tests.engine.test_batching import Engine, batcher, rows, turns
from tests.support.virtual_time import virtual_time


def counted(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"tower": "image"})


@virtual_time
async def test_the_wait_of_each_request_in_a_batch_is_counted_once_and_not_the_call() -> None:
    engine, metrics = Engine(), Metrics()
    async with batcher(engine, metrics=metrics) as running:
        engine.gate.clear()
        first = asyncio.create_task(running.submit(rows(1)))
        await turns(5)
        waiting = [asyncio.create_task(running.submit(rows(2, 3))) for _ in range(2)]
        await turns(5)
        assert counted(metrics, "clipserve_queue_seconds_count") == 1, "those that wait are not counted yet"
        await asyncio.sleep(1)
        engine.gate.set()
        await asyncio.gather(first, *waiting)
    assert engine.batches == [[1], [2, 2, 3, 3]]
    assert counted(metrics, "clipserve_queue_seconds_count") == 3
    seconds = counted(metrics, "clipserve_queue_seconds_sum")
    assert seconds == pytest.approx(2, abs=1e-6), (
        "two waited for the call before theirs, the first for nothing"
    )


async def test_a_batch_that_is_tried_again_row_by_row_has_waited_once() -> None:
    engine, metrics = Engine(), Metrics()
    engine.poison = 2
    async with batcher(engine, metrics=metrics) as running:
        with pytest.raises(BackendFailed):
            await running.submit(rows(1, 2, 3))
    assert engine.batches == [[1, 2, 3], [1], [2]]
    assert counted(metrics, "clipserve_queue_seconds_count") == 1


async def test_as_many_batches_as_can_run_are_told_while_it_serves() -> None:
    metrics = Metrics()
    async with batcher(Engine(), concurrency=2, metrics=metrics):
        async with batcher(Engine(), concurrency=1, metrics=metrics):
            assert counted(metrics, "clipserve_workers") == 3
        assert counted(metrics, "clipserve_workers") == 2
    assert counted(metrics, "clipserve_workers") == 0

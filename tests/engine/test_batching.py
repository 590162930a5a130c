"""The five laws of dynamic batching, each under cancellation too; and the queue's order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from clipserve.telemetry.metrics import Metrics
from tests.support.waiting import settled

Rows = np.ndarray[Any, np.dtype[np.float32]]


def rows(*values: float) -> Rows:
    """One row a value; its vector is the value doubled."""
    return np.array(values, np.float32)[:, None]


class Engine:
    """Doubles each row, and can be told to misbehave. Keeps the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.poison: float | None = None
        self.error: BaseException | None = None  # of each call
        self.answer: Callable[[Rows], Awaitable[Rows]] | None = None
        self.cancelled = 0

    async def __call__(self, values: Rows) -> Rows:
        self.batches.append([float(v) for v in values[:, 0]])
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.answer is not None:
            return await self.answer(values)
        if self.error is not None:
            raise self.error
        if self.poison in values:
            raise RuntimeError("poisoned")
        return values * 2


@asynccontextmanager
async def batcher(
    engine: Engine,
    max_batch_size: int = 4,
    concurrency: int = 1,
    metrics: Metrics | None = None,
) -> AsyncIterator[DynamicBatcher]:
    policy = BatchPolicy(max_batch_size, concurrency)
    running = DynamicBatcher("image", engine, policy, metrics or Metrics())
    running.start()
    async with asyncio.timeout(30):  # a hang is noticed
        try:
            yield running
        finally:
            await running.aclose()


async def turns(count: int) -> None:
    """Let every other task run so many times: a delay that no busy machine changes."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_every_row_gets_its_own_vector_in_order() -> None:
    engine = Engine()
    async with batcher(engine) as running:
        answers = await asyncio.gather(*(running.submit(rows(i, i + 100)) for i in range(25)))
    for i, answer in enumerate(answers):
        assert answer.tolist() == [[2 * i], [2 * (i + 100)]]
    assert sum(map(len, engine.batches)) == 50, "a row was computed twice, or not at all"


async def test_an_idle_engine_starts_at_once_and_batches_form_while_it_is_busy() -> None:
    engine = Engine()
    engine.gate.clear()
    async with batcher(engine) as running:
        tasks = [asyncio.create_task(running.submit(rows(i))) for i in range(6)]
        await settled()
        assert engine.batches == [[0, 1, 2, 3]]
        engine.gate.set()
        await asyncio.gather(*tasks)
    assert engine.batches == [[0, 1, 2, 3], [4, 5]]


async def test_a_poisoned_row_fails_alone() -> None:
    engine = Engine()
    engine.poison = 2
    async with batcher(engine) as running:
        results = await asyncio.gather(*(running.submit(rows(i)) for i in range(4)), return_exceptions=True)
    assert isinstance(results[2], BackendFailed)
    assert [r.tolist() for i, r in enumerate(results) if i != 2] == [[[0]], [[2]], [[6]]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "error", [BackendUnavailable("gone"), Overloaded("full", retry_after=1), DeadlineExceeded("late")]
)
async def test_where_no_row_is_to_blame_the_backend_is_not_asked_again_row_by_row(error: ClipError) -> None:
    engine = Engine()
    engine.error = error
    async with batcher(engine) as running:
        results = await asyncio.gather(*(running.submit(rows(i)) for i in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(error)] * 3
    assert len(engine.batches) == 1


@pytest.mark.parametrize("missing", [1, -1])
async def test_too_few_or_too_many_vectors_fail_the_batch(missing: int) -> None:
    engine = Engine()

    async def miscount(values: Rows) -> Rows:
        return np.resize(values, (len(values) - missing, 1))

    engine.answer = miscount
    async with batcher(engine) as running:
        with pytest.raises(BackendFailed, match=r"vectors for 1 rows"):
            await running.submit(rows(7))
        engine.answer = None
        assert (await running.submit(rows(8))).tolist() == [[16]]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a secret"), BackendFailed("x"), asyncio.CancelledError(), MemoryError(), TimeoutError()],
)
async def test_whatever_the_backend_raises_the_next_request_is_served(error: BaseException) -> None:
    engine = Engine()
    engine.error = error
    async with batcher(engine) as running:
        with pytest.raises(BackendFailed) as failed:
            await running.submit(rows(1, 2))
        assert "secret" not in str(failed.value)
        engine.error = None
        assert (await running.submit(rows(3))).tolist() == [[6]]


async def test_a_caller_who_leaves_does_not_disturb_his_batch_mates() -> None:
    engine = Engine()
    engine.gate.clear()
    async with batcher(engine) as running:
        leaving, staying = (asyncio.create_task(running.submit(rows(i))) for i in (1, 2))
        await settled()
        leaving.cancel()
        await settled()
        engine.gate.set()
        assert (await staying).tolist() == [[4]]
        assert leaving.cancelled()
    assert engine.cancelled == 0


async def test_a_hanging_backend_is_let_go_with_its_last_caller() -> None:
    engine = Engine()
    engine.gate.clear()
    async with batcher(engine) as running:
        for calls in range(1, 4):
            leaving = asyncio.create_task(running.submit(rows(1, 2)))
            while len(engine.batches) < calls:
                await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            while engine.cancelled < calls:
                await asyncio.sleep(0)
        engine.gate.set()
        assert (await running.submit(rows(5))).tolist() == [[10]]


async def test_a_caller_who_leaves_during_the_row_by_row_retry_ends_it() -> None:
    engine = Engine()
    failing = True

    async def fail_then_hang(_: Rows) -> Rows:
        nonlocal failing
        if failing:
            failing = False
            raise RuntimeError
        await asyncio.sleep(60)
        raise AssertionError

    engine.answer = fail_then_hang
    async with batcher(engine) as running:
        task = asyncio.create_task(running.submit(rows(1, 2, 3)))
        await settled()
        task.cancel()
        await settled()
        engine.answer = None
        assert (await running.submit(rows(4))).tolist() == [[8]]
    assert engine.batches == [[1, 2, 3], [1], [4]]


async def test_callers_that_come_and_go_at_random_leave_nothing_behind() -> None:
    engine = Engine()
    random = np.random.default_rng(0)

    async def slow(values: Rows) -> Rows:
        await turns(int(random.integers(0, 10)))
        if random.random() < 0.1:
            raise RuntimeError
        return values * 2

    engine.answer = slow
    answered = 0
    async with batcher(engine, concurrency=2) as running:

        async def caller(value: int) -> None:
            nonlocal answered
            asking = asyncio.create_task(running.submit(rows(value, -value)))
            await turns(int(random.integers(0, 250)))
            asking.cancel()
            try:
                assert (await asking).tolist() == [[2 * value], [-2 * value]]
                answered += 1
            except (asyncio.CancelledError, BackendFailed):
                pass

        for wave in range(10):
            await asyncio.gather(*(caller(wave * 100 + i) for i in range(40)))
        engine.answer, engine.batches[:] = None, []
        engine.gate.clear()
        last = []
        for value in (1, 2):
            last.append(asyncio.create_task(running.submit(rows(value))))
            await settled()
        assert engine.batches == [[1], [2]], "both calls are free, and no row waits that was left behind"
        engine.gate.set()
        assert [answer.tolist() for answer in await asyncio.gather(*last)] == [[[2]], [[4]]]
    assert 50 < answered < 350, "too few left, or too few stayed, to show anything"


async def test_closing_answers_everyone_who_waits() -> None:
    engine = Engine()
    engine.gate.clear()
    async with batcher(engine, max_batch_size=1) as running:
        tasks = [asyncio.create_task(running.submit(rows(i))) for i in range(3)]
        await settled()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, BackendUnavailable) for r in results)
    with pytest.raises(BackendUnavailable):
        await running.submit(rows(1))

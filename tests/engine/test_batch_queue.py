"""How a batch is dealt from the waiting rows: no clock, no tasks."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

from clipserve.engine.batch_queue import Batch, BatchPolicy, BatchQueue, Job
from clipserve.telemetry.request import RequestContext


class Left:
    """Whether a caller has left."""

    def __init__(self) -> None:
        self.left = False

    def __call__(self) -> bool:
        return self.left


def job(count: int, width: int = 1, arrived: float = 0.0, departed: bool = False, bulk: bool = False) -> Job:
    context = RequestContext("bulk", bulk=True) if bulk else None
    return Job((np.zeros((count, width), np.float32),), arrived, lambda: departed, context)


def of(caller: str, count: int = 1, width: int = 1) -> Job:
    return Job((np.zeros((count, width), np.float32),), 0.0, context=RequestContext("a", address=caller))


def taken(queue: BatchQueue[Job]) -> Batch[Job]:
    batch = queue.take()
    assert batch
    return batch


def test_callers_take_turns_row_by_row_however_many_jobs_they_have() -> None:
    queue = BatchQueue[Job](BatchPolicy(6))
    many, few = [of("many") for _ in range(20)], [of("few", 2), of("few", 9)]
    for each in (*many, *few):
        queue.put(each)
    owners = [owner for owner, _ in taken(queue).rows]
    assert owners == [many[0], few[0], many[1], few[1], many[2], few[0]]


def test_a_large_job_of_one_shape_does_not_starve_another_shape() -> None:
    queue = BatchQueue[Job](BatchPolicy(4))
    long, short = job(100, width=77), job(2, width=8)
    queue.put(long)
    queue.put(short)
    assert {owner for owner, _ in taken(queue).rows} == {long}
    assert [owner for owner, _ in taken(queue).rows] == [short, short]
    assert {owner for owner, _ in taken(queue).rows} == {long}


def test_rows_of_one_caller_are_not_copied() -> None:
    queue = BatchQueue[Job](BatchPolicy(3))
    alone, other = job(8), job(1)
    alone.arrays[0][:] = np.arange(8)[:, np.newaxis]
    queue.put(alone)
    for whole in ([0, 1, 2], [3, 4, 5]):
        (rows,) = taken(queue).arrays()
        assert (rows[:, 0].tolist(), np.shares_memory(rows, alone.arrays[0])) == (whole, True)
    queue.put(other)
    batch = taken(queue)
    assert all(row.base is job.arrays[0] for row, (job, _) in zip(batch.apart()[0], batch.rows, strict=True))
    (mixed,) = batch.arrays()
    assert (mixed[:, 0].tolist(), np.shares_memory(mixed, alone.arrays[0])) == ([6, 0, 7], False)


def test_long_texts_come_in_smaller_batches() -> None:
    queue = BatchQueue[Job](BatchPolicy(32, max_batch_tokens=128))
    for width, most in ((2, 32), (8, 16), (77, 1), (200, 1)):
        queue.put(job(100, width))
        assert len(taken(queue).rows) == most, width
        queue.drain()


def test_a_batch_has_no_more_rows_than_the_backend_takes_once_that_is_known() -> None:
    takes = 0
    queue = BatchQueue[Job](BatchPolicy(32, max_rows_now=lambda: takes))
    for takes, rows in ((0, 32), (8, 8), (64, 32)):
        queue.put(job(100))
        assert len(taken(queue).rows) == rows, takes
        queue.drain()


def test_where_the_backend_knows_its_rows_the_time_of_a_call_does_not_count() -> None:
    policy = BatchPolicy(16, max_rows_now=lambda: 8, call_seconds=0.25)
    assert policy.rows_of((), 1.0) == 8


def test_a_batch_has_as_many_rows_as_fit_into_the_time_of_a_call() -> None:
    queue = BatchQueue[Job](BatchPolicy(max_batch_size=16, call_seconds=0.25))
    queue.put(job(100))
    assert len(taken(queue).rows) == 4, "nothing has been measured"
    queue.took(4, 0.1)
    assert len(taken(queue).rows) == 10
    queue.took(10, 0.05)
    assert len(taken(queue).rows) == 16, "25 ms a row, then 5"
    queue.took(16, 16.0)
    assert len(taken(queue).rows) == 4, "a large model's calls take longer than that"


def test_what_was_taken_is_not_held() -> None:
    queue, jobs = BatchQueue[Job](BatchPolicy(2)), list[weakref.ref[Job]]()
    for _ in range(100):  # at no time is the queue empty
        for _ in range(2):
            jobs.append(weakref.ref(waiting := job(1)))
            queue.put(waiting)
        if len(jobs) > 2:
            queue.take()
    del waiting
    assert sum(each() is not None for each in jobs) == 2


def test_rows_whose_caller_leaves_between_two_batches_are_passed_over() -> None:
    queue, left = BatchQueue[Job](BatchPolicy(2)), Left()
    leaving, staying = job(9), job(3)
    leaving.departed = left
    for each in (leaving, staying):
        queue.put(each)
    assert {owner for owner, _ in taken(queue).rows} == {leaving, staying}
    left.left = True
    assert taken(queue).rows == [(staying, 1), (staying, 2)]
    assert queue.take() is None


def steps(waiting: int) -> float:
    """Lines of Python that run for a batch while so many jobs of so many callers wait."""
    queue, lines = BatchQueue[Job](BatchPolicy(32)), 0
    for number in range(waiting):
        queue.put(of(f"{number}", 8))

    def count(*_: Any) -> Any:
        nonlocal lines
        lines += 1
        return count

    sys.settrace(count)
    try:
        for _ in range(8):
            queue.take()
    finally:
        sys.settrace(None)
    return lines


def test_a_batch_costs_the_same_however_many_rows_wait() -> None:
    assert steps(5_000) < 1.2 * steps(50)


def test_a_batch_is_abandoned_when_all_of_its_callers_have_left() -> None:
    queue = BatchQueue[Job](BatchPolicy(4))
    present, leaving = job(1), job(1)
    queue.put(present)
    queue.put(leaving)
    batch = taken(queue)
    leaving.departed = lambda: True
    assert not batch.abandoned
    present.departed = lambda: True
    assert batch.abandoned


def test_what_waits_can_be_drained_once() -> None:
    queue = BatchQueue[Job](BatchPolicy(4))
    jobs = [job(1), job(2, width=8)]
    for each in jobs:
        queue.put(each)
    assert queue.drain() == jobs
    assert queue.drain() == []
    assert queue.take() is None


def test_rows_of_bulk_requests_wait_until_no_others_do() -> None:
    queue = BatchQueue[Job](BatchPolicy(8))
    bulk, late = job(100, bulk=True), job(9, width=2)
    queue.put(bulk)
    queue.put(late)
    assert [owner for owner, _ in taken(queue).rows] == [late] * 8
    assert [owner for owner, _ in taken(queue).rows] == [late]
    assert [owner for owner, _ in taken(queue).rows] == [bulk] * 2


def test_a_batch_of_bulk_rows_has_one_where_no_batch_has_four() -> None:
    queue = BatchQueue[Job](BatchPolicy(3))
    queue.put(job(9, bulk=True))
    assert len(taken(queue).rows) == 1


def test_bulk_rows_come_in_full_batches_when_nobody_else_has_come_for_a_while() -> None:
    queue, bulk = BatchQueue[Job](BatchPolicy(8)), job(1_000, bulk=True)
    queue.put(bulk)
    assert {len(taken(queue).rows) for _ in range(64)} == {2}
    assert [len(taken(queue).rows) for _ in range(2)] == [8, 8]
    queue.put(job(1))
    queue.take()
    assert len(taken(queue).rows) == 2

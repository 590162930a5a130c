"""The waiting rows, and how a batch is dealt from them. Pure: no clock, no tasks.

`clipserve.engine.batching` says why. Rows of bulk requests wait until no others do, and come in smaller batches, so
that whoever arrives meanwhile does not wait long either. When nobody else has come for a while, they come in
batches as large as any.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from clipserve.telemetry.request import Context

Arrays = tuple[npt.NDArray[Any], ...]  # arrays of one call, rows along the first axis of each
# A call takes so many times fewer rows of bulk requests: it is what a request that arrives has to wait for.
_BULK_SHARE = 4
# Calls of bulk rows, after which nobody else is expected: a third of a second or more.
_CALLS_UNTIL_ALONE = 64
Shape = tuple[tuple[int, ...], ...]  # of a row, in each of the arrays


@dataclass(frozen=True)
class BatchPolicy:
    """How rows are gathered into calls, here or by Triton.

    Attributes:
        max_batch_size: rows in one call.
        max_queue_delay: seconds that a row may wait for company while a serving task is free.
        stack: whether a call gets its rows copied into one array; else it gets a list of them.
        gather_seconds: the same while half of the calls run, some for other requests: a request alone does not
            wait.
        concurrency: calls that run at a time.
        max_batch_tokens: for texts, rows x length of one call; 0 for no such bound.
        max_rows_now: rows that the backend takes in one call, where that is known only once it runs; 0: not yet.
        calls_now: replaces `concurrency`, where that is known only once it runs, and changes; 0: not yet.
        call_seconds: what a call may take by the measure of those before, if it has more than `least_rows`.
        least_rows: see `call_seconds`, and until a call has been measured.
    """

    max_batch_size: int
    max_queue_delay: float = 0.0
    concurrency: int = 1
    max_batch_tokens: int = 0
    max_rows_now: Callable[[], int] | None = None
    calls_now: Callable[[], int] | None = None
    call_seconds: float = math.inf
    least_rows: int = 1
    gather_seconds: float = 0.0
    stack: bool = True

    def rows_of(self, shape: Shape, row_seconds: float | None = None) -> int:
        """How many rows of this shape one call takes, where a row took so long; one is taken, however long."""
        most = min(self.max_batch_size, (self.max_rows_now and self.max_rows_now()) or self.max_batch_size)
        if self.call_seconds < math.inf:
            in_time = self.call_seconds / row_seconds if row_seconds else 0
            most = min(most, max(self.least_rows, int(in_time)))
        if not self.max_batch_tokens:
            return most
        (length,) = shape[0]
        return max(1, min(most, self.max_batch_tokens // length))


@dataclass(eq=False)
class Job:
    """The rows of one caller.

    Attributes:
        arrived: seconds of the batcher's clock.
        departed: whether the caller has left, or has been answered.
        context: the request that the rows belong to.
        taken: rows that are in some batch, or have been.
        shape: of a row.
    """

    arrays: Arrays
    arrived: float
    departed: Callable[[], bool] = lambda: False
    context: Context | None = None
    taken: int = 0

    def __post_init__(self) -> None:
        self.rows = len(self.arrays[0])
        self.shape: Shape = tuple([array.shape[1:] for array in self.arrays])

    @property
    def bulk(self) -> bool:
        return self.context is not None and self.context.bulk

    @property
    def caller(self) -> str:
        return self.context.caller if self.context else ""


@dataclass
class SharedMachine:
    """What the towers of one machine count together: calls of bulk rows since a row of another request came."""

    bulk_calls_since_request: int = 0


J = TypeVar("J", bound=Job)


@dataclass(eq=False)
class Batch(Generic[J]):
    """Rows taken for one call: (whose, which row), in order."""

    rows: list[tuple[J, int]]

    def __post_init__(self) -> None:
        self.jobs: Collection[J] = dict(self.rows)  # each once

    @property
    def abandoned(self) -> bool:
        return all(job.departed() for job, _ in self.rows)

    def has_others_than(self, one: Job) -> bool:
        """Whether it has a row of another request."""
        return any(job.context is not one.context for job, _ in self.rows)

    def arrays(self) -> Arrays:
        first, start = self.rows[0]
        if len(self.jobs) == 1:  # rows of one caller lie side by side already
            return tuple([array[start : start + len(self.rows)] for array in first.arrays])
        return tuple([np.stack(rows) for rows in self.apart()])

    def apart(self) -> Sequence[Sequence[npt.NDArray[Any]]]:
        """As `arrays`, but nothing is copied: each row is an array of its own."""
        return [[job.arrays[i][row] for job, row in self.rows] for i in range(len(self.rows[0][0].arrays))]

    def row_by_row(self) -> list[Batch[J]]:
        return [Batch([row]) for row in self.rows]


class BatchQueue(Generic[J]):
    """Waiting jobs, oldest first."""

    def __init__(self, policy: BatchPolicy, machine: SharedMachine | None = None) -> None:
        self._policy = policy
        self._machine = machine or SharedMachine()
        self._jobs: list[J] = []
        self._row_seconds: float | None = None  # of the calls of late

    def took(self, rows: int, seconds: float) -> None:
        """A call has ended."""
        latest = seconds / rows
        self._row_seconds = (self._row_seconds + latest) / 2 if self._row_seconds else latest

    def put(self, job: J) -> None:
        if not job.bulk:
            self._machine.bulk_calls_since_request = 0
        self._jobs.append(job)

    def due(self, now: float, running: Collection[Batch[J]] = ()) -> float | None:
        """When the next batch should be taken; None with nothing waiting. A full batch is due at once.

        `running`: the calls that have not ended, where they are many.
        """
        self._jobs = [job for job in self._jobs if not job.departed()]
        if not self._jobs:
            return None
        delay, gather = self._policy.max_queue_delay, self._policy.gather_seconds if running else 0.0
        if not delay and not gather:
            return now
        jobs = self._next_jobs()
        if gather and any(batch.has_others_than(jobs[0]) for batch in running):
            delay = max(delay, gather)
        if not delay:
            return now
        waiting = sum(job.rows - job.taken for job in jobs if job.shape == jobs[0].shape)
        if waiting >= self._most_rows(jobs[0]):
            return now
        return min(job.arrived for job in jobs) + delay

    def take(self) -> Batch[J]:
        """As many rows of the first job's shape as one call takes. Of bulk, if it is all.

        Callers take turns, and so do the jobs of each. Those who have left since `due` are among them.
        """
        jobs = self._next_jobs()
        most = self._most_rows(jobs[0])
        self._machine.bulk_calls_since_request += jobs[0].bulk
        by_caller: dict[str, deque[J]] = {}
        for job in jobs:
            if job.shape == jobs[0].shape:
                by_caller.setdefault(job.caller, deque()).append(job)
        turns = deque(by_caller.values())
        rows: list[tuple[J, int]] = []
        while turns and len(rows) < most:
            jobs_of_caller = turns.popleft()
            job = jobs_of_caller.popleft()
            rows.append((job, job.taken))
            job.taken += 1
            if job.taken < job.rows:
                jobs_of_caller.append(job)
            if jobs_of_caller:
                turns.append(jobs_of_caller)
        # Who was served goes behind the others, also behind those of another shape: callers, then jobs.
        self._jobs = [job for job in self._jobs if job.taken < job.rows]
        if self._jobs:
            served = {job for job, _ in rows}
            callers = {job.caller for job in served}
            self._jobs.sort(key=lambda job: (job.caller in callers, job in served))
        return Batch(rows)

    def drain(self) -> list[J]:
        """Remove and return all that waits."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def _next_jobs(self) -> Sequence[J]:
        if len(self._jobs) == 1:
            return self._jobs
        return [job for job in self._jobs if not job.bulk] or self._jobs

    def _most_rows(self, first: J) -> int:
        most = self._policy.rows_of(first.shape, self._row_seconds)
        if not first.bulk or self._machine.bulk_calls_since_request >= _CALLS_UNTIL_ALONE:
            return most
        return max(1, most // _BULK_SHARE)

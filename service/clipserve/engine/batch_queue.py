"""The waiting rows, and how a batch is dealt from them. Pure: no clock, no tasks.

`clipserve.engine.batching` says why. Rows of bulk requests wait until no others do, and come in smaller batches, so
that whoever arrives meanwhile does not wait long either. When nobody else has come for a while, they come in
batches as large as any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from clipserve.engine.lanes import Arrays, Job, Lane, Shape

# A call takes so many times fewer rows of bulk requests: it is what a request that arrives has to wait for.
_BULK_SHARE = 4
# Calls of bulk rows, after which nobody else is expected: a third of a second or more.
_CALLS_UNTIL_ALONE = 64


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
    """Waiting jobs: those of requests, and those that give way to them."""

    def __init__(self, policy: BatchPolicy, machine: SharedMachine | None = None) -> None:
        self._policy = policy
        self._machine = machine or SharedMachine()
        self._requests, self._bulk = Lane[J](), Lane[J]()
        self._row_seconds: float | None = None  # of the calls of late

    def took(self, rows: int, seconds: float) -> None:
        """A call has ended."""
        latest = seconds / rows
        self._row_seconds = (self._row_seconds + latest) / 2 if self._row_seconds else latest

    def put(self, job: J) -> None:
        if not job.bulk:
            self._machine.bulk_calls_since_request = 0
        self._lane_of(job).put(job)

    def discard(self, job: J) -> None:
        """The caller of this job has left, or has been answered: its rows do not fill a batch."""
        self._lane_of(job).discard(job)

    def due(self, now: float, running: Collection[Batch[J]] = ()) -> float | None:
        """When the next batch should be taken; None with nothing waiting. A full batch is due at once.

        `running`: the calls that have not ended, where they are many.
        """
        first = self._first()
        if first is None:
            return None
        delay, gather = self._policy.max_queue_delay, self._policy.gather_seconds if running else 0.0
        if gather and any(batch.has_others_than(first) for batch in running):
            delay = max(delay, gather)
        lane = self._lane_of(first)
        if not delay or lane.rows(first.shape) >= self._most_rows(first):
            return now
        return lane.earliest(first.shape) + delay

    def take(self) -> Batch[J]:
        """As many rows of the first job's shape as one call takes, of bulk if it is all. Call it after `due`.

        Callers take turns, and so do the jobs of each.
        """
        first = self._first()
        if first is None:
            return Batch([])
        most = self._most_rows(first)
        self._machine.bulk_calls_since_request += first.bulk
        return Batch(list(self._lane_of(first).take(first.shape, most)))

    def drain(self) -> list[J]:
        """Remove and return all that waits."""
        return [*self._requests.drain(), *self._bulk.drain()]

    def _lane_of(self, job: J) -> Lane[J]:
        return self._bulk if job.bulk else self._requests

    def _first(self) -> J | None:
        return self._requests.first() or self._bulk.first()

    def _most_rows(self, first: J) -> int:
        most = self._policy.rows_of(first.shape, self._row_seconds)
        if not first.bulk or self._machine.bulk_calls_since_request >= _CALLS_UNTIL_ALONE:
            return most
        return max(1, most // _BULK_SHARE)

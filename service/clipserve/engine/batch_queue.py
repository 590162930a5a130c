"""The waiting rows, and how a batch is dealt from them. Pure: no clock, no tasks.

`clipserve.engine.batching` says why. Rows of one call have one shape, and shapes take turns; in a shape callers
take turns row by row, and so do the jobs of a caller (`Turns`). Rows of bulk requests wait until no others do, and
come in smaller batches, so that whoever arrives meanwhile does not wait long either; in full ones when nobody else
has come for a while.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from clipserve.telemetry.request import Context
from clipserve.turns import Turns

Arrays = tuple[npt.NDArray[Any], ...]  # arrays of one call, rows along the first axis of each
Shape = tuple[tuple[int, ...], ...]  # of a row, in each of the arrays of a job

# A call takes so many times fewer rows of bulk requests: it is what a request that arrives has to wait for.
_BULK_SHARE = 4
# Calls of bulk rows, after which nobody else is expected: a third of a second or more.
_CALLS_UNTIL_ALONE = 64
# Rows of a call that is bounded in time, until one has been measured, and however long they take.
_LEAST_ROWS = 4


@dataclass(eq=False)
class Job:
    """The rows of one caller.

    Attributes:
        arrived: seconds of the batcher's clock.
        departed: whether the caller has left, or has been answered.
        context: the request that the rows belong to.
        taken: rows that are in some batch, or have been.
        shape: of a row.
        bulk: its rows give way to others. What another request joins later, which does not, stays so.
    """

    arrays: Arrays
    arrived: float
    departed: Callable[[], bool] = lambda: False
    context: Context | None = None
    taken: int = 0

    def __post_init__(self) -> None:
        self.rows = len(self.arrays[0])
        self.shape: Shape = tuple([array.shape[1:] for array in self.arrays])
        self.bulk = self.context is not None and self.context.bulk
        self.caller = self.context.caller if self.context else ""


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class BatchPolicy:
    """How rows are gathered into calls.

    Attributes:
        max_batch_size: rows in one call.
        concurrency: calls that run at a time.
        max_batch_tokens: for texts, rows x length of one call; 0 for no such bound.
        max_rows_now: rows of a call where the backend knows them once it runs; 0: not yet, or it does not.
        calls_now: replaces `concurrency`, where that is known only once it runs, and changes; 0: not yet.
        call_seconds: where it does not: what a call of more than four rows may take by the measure of those before.
        stack: whether a call gets its rows copied into one array; else it gets a list of them.
    """

    max_batch_size: int
    concurrency: int = 1
    max_batch_tokens: int = 0
    max_rows_now: Callable[[], int] | None = None
    calls_now: Callable[[], int] | None = None
    call_seconds: float = math.inf
    stack: bool = True

    def rows_of(self, shape: Shape, row_seconds: float | None = None) -> int:
        """How many rows of this shape one call takes, where a row took so long; one is taken, however long."""
        known = self.max_rows_now() if self.max_rows_now else 0
        most = min(self.max_batch_size, known or self.max_batch_size)
        if self.call_seconds < math.inf and not known:
            most = min(most, max(_LEAST_ROWS, int(self.call_seconds / row_seconds) if row_seconds else 0))
        return max(1, min(most, self.max_batch_tokens // shape[0][0])) if self.max_batch_tokens else most


@dataclass(eq=False)
class Batch(Generic[J]):
    """Rows taken for one call: (whose, which row), in order."""

    rows: list[tuple[J, int]]

    def __post_init__(self) -> None:
        self.jobs: Collection[J] = dict(self.rows)  # each once

    @property
    def abandoned(self) -> bool:
        return all(job.departed() for job in self.jobs)

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

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        # By shape, the next one first: of requests, and of bulk requests.
        self._lanes = OrderedDict[Shape, Turns[J]](), OrderedDict[Shape, Turns[J]]()
        self._bulk_calls = 0  # since a row of another request came
        self._row_seconds: float | None = None  # of the calls of late

    def took(self, rows: int, seconds: float) -> None:
        """A call has ended."""
        latest = seconds / rows
        self._row_seconds = (self._row_seconds + latest) / 2 if self._row_seconds else latest

    def put(self, job: J) -> None:
        if not job.bulk:
            self._bulk_calls = 0
        lane = self._lanes[job.bulk]
        if job.shape not in lane:
            lane[job.shape] = Turns()
        lane[job.shape].put(job, job.caller, job)

    def take(self) -> Batch[J] | None:
        """As many rows of the next shape as one call takes, of bulk if it is all; None: nobody waits."""
        for bulk, lane in enumerate(self._lanes):
            while lane:
                shape, waiting = next(iter(lane.items()))
                if rows := self._dealt(waiting, self._most_rows(shape, bulk=bool(bulk))):
                    self._bulk_calls += bulk
                    lane.move_to_end(shape)
                    return Batch(rows)
                del lane[shape]
        return None

    def drain(self) -> list[J]:
        """Remove and return all that waits."""
        jobs: dict[J, None] = {}
        while batch := self.take():
            jobs |= dict.fromkeys(batch.jobs)
        return list(jobs)

    def _dealt(self, waiting: Turns[J], most: int) -> list[tuple[J, int]]:
        """At most so many rows: whose, and which. The jobs of callers who have left go."""
        taken: list[tuple[J, int]] = []
        while waiting and len(taken) < most:
            if (job := waiting.pop()).departed():
                continue
            taken.append((job, job.taken))
            job.taken += 1
            if job.taken < job.rows:
                waiting.put(job, job.caller, job)
        return taken

    def _most_rows(self, shape: Shape, *, bulk: bool) -> int:
        most = self._policy.rows_of(shape, self._row_seconds)
        return max(1, most // _BULK_SHARE) if bulk and self._bulk_calls < _CALLS_UNTIL_ALONE else most

"""The order of jobs that wait for the encoder, so that taking a row costs the same however many wait. Pure.

Callers take turns row by row, and so do the jobs of a caller: who was served, or has just come, is last. Rows of
one call have one shape, so each shape has a heap of the callers that have jobs of it. A caller that was served is
last in the other shapes, too: its entries there are put right when they come first.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from clipserve.telemetry.request import Context

Arrays = tuple[npt.NDArray[Any], ...]  # arrays of one call, rows along the first axis of each
Shape = tuple[tuple[int, ...], ...]  # of a row, in each of the arrays of a job


@dataclass(eq=False)
class Job:
    """The rows of one caller.

    Attributes:
        arrived: seconds of the batcher's clock.
        departed: whether the caller has left, or has been answered.
        context: the request that the rows belong to.
        taken: rows that are in some batch, or have been.
        turn: when it was last served, or came.
        shape: of a row.
        bulk: its rows give way to others. What another request joins later, which does not, stays so.
    """

    arrays: Arrays
    arrived: float
    departed: Callable[[], bool] = lambda: False
    context: Context | None = None
    taken: int = 0
    turn: int = 0

    def __post_init__(self) -> None:
        self.rows = len(self.arrays[0])
        self.shape: Shape = tuple([array.shape[1:] for array in self.arrays])
        self.bulk = self.context is not None and self.context.bulk

    @property
    def caller(self) -> str:
        return self.context.caller if self.context else ""


J = TypeVar("J", bound=Job)


@dataclass(eq=False)
class _Caller:
    """A caller with jobs here, of any shape. `turn`: when it was last served, or came."""

    turn: int
    jobs: int = 0


@dataclass(eq=False)
class _Shape(Generic[J]):
    """The jobs of one shape. `rows`: those not taken, without jobs that `Lane.discard` was told of."""

    rows: int = 0
    by_caller: dict[str, deque[J]] = field(default_factory=dict)
    heap: list[tuple[int, int, str]] = field(default_factory=list)  # turns of a caller and its first job
    arrivals: list[tuple[float, int, J]] = field(default_factory=list)


class Lane(Generic[J]):
    """Waiting jobs. Each is `put`, and is taken row by row, or `discard`ed."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._callers: dict[str, _Caller] = {}
        self._shapes: dict[Shape, _Shape[J]] = {}

    def put(self, job: J) -> None:
        """Add a job behind the others."""
        job.turn = next(self._count)
        caller = self._callers.setdefault(job.caller, _Caller(job.turn))
        caller.jobs += 1
        shape = self._shapes.setdefault(job.shape, _Shape())
        shape.rows += job.rows
        heapq.heappush(shape.arrivals, (job.arrived, job.turn, job))
        jobs = shape.by_caller.get(job.caller)
        if jobs is None:
            jobs = shape.by_caller[job.caller] = deque()
            heapq.heappush(shape.heap, (caller.turn, job.turn, job.caller))
        jobs.append(job)

    def first(self) -> J | None:
        """The job whose turn it is; None: none waits."""
        firsts = [first for each in list(self._shapes.values()) if (first := self._first(each))]
        if not firsts:
            return None
        return min(firsts, key=lambda job: (self._callers[job.caller].turn, job.turn))

    def take(self, shape: Shape, most: int) -> Iterator[tuple[J, int]]:
        """At most so many rows of this shape: whose, and which."""
        here = self._shapes[shape]
        for _ in range(most):
            job = self._first(here)
            if job is None:
                return
            jobs = here.by_caller[job.caller]
            jobs.rotate(-1)
            job.turn = self._callers[job.caller].turn = next(self._count)
            here.rows -= 1
            job.taken += 1
            yield job, job.taken - 1

    def rows(self, shape: Shape) -> int:
        """How many rows of this shape wait."""
        return self._shapes[shape].rows

    def earliest(self, shape: Shape) -> float:
        """When the first of the waiting jobs of this shape came. There is one."""
        arrivals = self._shapes[shape].arrivals
        while _is_over(arrivals[0][2]):
            heapq.heappop(arrivals)
        return arrivals[0][0]

    def discard(self, job: J) -> None:
        """The caller of this job has left: its rows do not count. It goes when its turn comes."""
        if shape := self._shapes.get(job.shape):
            shape.rows -= job.rows - job.taken

    def drain(self) -> list[J]:
        """Remove and return all jobs, as they came."""
        jobs = [job for shape in self._shapes.values() for each in shape.by_caller.values() for job in each]
        self._callers.clear()
        self._shapes.clear()
        return sorted(jobs, key=lambda job: job.turn)

    def _first(self, shape: _Shape[J]) -> J | None:
        """The next job of a shape. What is over or has been served since comes to its place, or goes."""
        while shape.heap:
            *turns, name = shape.heap[0]
            caller, jobs = self._callers[name], shape.by_caller[name]
            while jobs and _is_over(jobs[0]):
                jobs.popleft()
                self._forget(name, caller)
            if not jobs:
                heapq.heappop(shape.heap)
                del shape.by_caller[name]
            elif [caller.turn, jobs[0].turn] != turns:
                heapq.heapreplace(shape.heap, (caller.turn, jobs[0].turn, name))
            else:
                return jobs[0]
        self._shapes = {key: each for key, each in self._shapes.items() if each is not shape}
        return None

    def _forget(self, name: str, caller: _Caller) -> None:
        caller.jobs -= 1
        if not caller.jobs:
            del self._callers[name]


def _is_over(job: Job) -> bool:
    return job.taken == job.rows or job.departed()

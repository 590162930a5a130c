"""What a simulation is made of: a clock, shared cores, places to wait for, an encoder with its queue."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Then = Callable[[], None]


class Clock:
    """The time of the simulation, and what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._numbers = itertools.count()

    def at(self, time: float, then: Then) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), then))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, then = heapq.heappop(self._events)
            then()


@dataclass(eq=False)
class _Task:
    left: float  # seconds, with cores of its own
    weight: float  # of each thread
    wide: bool  # a thread on each core
    then: Then
    rate: float = 0.0  # of the speed that it has alone


class Cores:
    """Cores that tasks share, each core among the threads on it."""

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._count = count
        self._tasks: list[_Task] = []
        self._last = 0.0
        self._version = 0

    def work(self, seconds: float, then: Then, weight: float = 1.0, *, wide: bool = False) -> None:
        """`seconds` of a thread, or, if it is `wide`, of a thread on each core; `then` when they are done."""
        if not seconds:
            then()
            return
        self._advance()
        self._tasks.append(_Task(seconds, weight, wide, then))
        self._share()

    def _advance(self) -> None:
        passed, self._last = self._clock.now - self._last, self._clock.now
        for task in self._tasks:
            task.left -= task.rate * passed

    def _share(self) -> None:
        """Put each thread on the core with the least weight. A wide task is as fast as its slowest thread."""
        everywhere = sum(task.weight for task in self._tasks if task.wide)
        weights = [everywhere] * self._count
        narrow = [task for task in self._tasks if not task.wide]
        places = []
        for task in sorted(narrow, key=lambda task: -task.weight):
            core = weights.index(min(weights))
            weights[core] += task.weight
            places.append((task, core))
        for task, core in places:
            task.rate = task.weight / weights[core]
        for task in self._tasks:
            if task.wide:
                task.rate = task.weight / max(weights)
        self._version += 1
        if self._tasks:
            version = self._version
            first = min(task.left / task.rate for task in self._tasks)
            self._clock.at(self._clock.now + max(0.0, first), lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return  # the shares have changed since
        self._advance()
        done = [task for task in self._tasks if task.left <= 1e-12]
        self._tasks = [task for task in self._tasks if task not in done]
        self._share()
        for task in done:
            task.then()


class Places:
    """So many at a time, first come first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Then] = deque()

    def take(self, then: Then) -> None:
        if self._free:
            self._free -= 1
            then()
        else:
            self._waiting.append(then)

    def give_back(self) -> None:
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1


class Encoder:
    """One call at a time, of all rows that wait, at most `max_batch`. `call`: begins one of so many rows."""

    def __init__(self, max_batch: int, call: Callable[[int, Then], None]) -> None:
        self._max_batch = max_batch
        self._call = call
        self._waiting: deque[Then] = deque()
        self._running = 0

    @property
    def rows(self) -> int:
        """That wait or are in a call."""
        return len(self._waiting) + self._running

    def submit(self, then: Then) -> None:
        self._waiting.append(then)
        self._next()

    def _next(self) -> None:
        if self._running or not self._waiting:
            return
        batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
        self._running = len(batch)
        self._call(len(batch), lambda: self._ended(batch))

    def _ended(self, batch: list[Then]) -> None:
        self._running = 0
        for then in batch:
            then()
        self._next()

"""The jobs that wait for a thread, in which callers take turns."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict, deque
from typing import Generic, TypeVar

from clipserve.telemetry.request import caller

T = TypeVar("T")


class TurnQueue(Generic[T]):
    """Like `queue.SimpleQueue`, but `get` returns the oldest job of each caller in turn.

    So a caller with a thousand jobs gets no more of the thread than one with a single job. The caller is that of
    the request for which `put` is called.
    """

    def __init__(self) -> None:
        self._count = queue.SimpleQueue[None]()  # a token for each job
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, deque[T]] = OrderedDict()  # by caller, the next one first

    def put(self, job: T) -> None:
        """Add a job behind the others of its caller."""
        with self._lock:
            self._jobs.setdefault(caller(), deque()).append(job)
        self._count.put(None)

    def get(self) -> T:
        """Wait for a job, and remove it."""
        self._count.get()
        return self._next()

    def get_nowait(self) -> T:
        """Remove a job. Raises queue.Empty: there is none."""
        self._count.get_nowait()
        return self._next()

    def _next(self) -> T:
        with self._lock:
            whose, jobs = self._jobs.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._jobs[whose] = jobs  # after the others
        return job

"""Lines to a file descriptor, written by a thread of its own: nobody waits for whoever reads them, or does not.

The event loop would stop in `write` as soon as the pipe at standard error is full. So a thread writes, and lines
are dropped while too many wait. Standard error itself is not replaced by a pipe that we read: what a C library says
when it crashes would stay in it. Nor does `logging.handlers.QueueListener` do: it writes line by line, each of
which would interrupt the event loop, and its `stop` waits for as long as nobody reads.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

_MAX_WAITING = 4_000_000  # characters: some 20,000 lines of requests
# A line wakes the thread, which then takes all that come in this time with it. To be woken by each would interrupt
# the event loop as often.
_GATHER_SECONDS = 0.01


class LineWriter:
    """Writes lines as long as somebody takes them, and drops what comes while too many wait.

    `on_dropped` is called in the thread with the number of lines dropped, as soon as lines can be written again.

    Attributes:
        dropped: lines that were not written, since the start.
    """

    def __init__(self, on_dropped: Callable[[int], None], max_waiting: int = _MAX_WAITING) -> None:
        """`max_waiting`: characters of the lines that may wait."""
        self.dropped = 0
        self._on_dropped = on_dropped
        self._max_waiting = max_waiting
        # Both may be used again by a thread that is just using them, as a finalizer that logs does.
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._lock = threading.RLock()  # of `dropped` and `_waiting`
        self._waiting = 0
        self._descriptor = -1
        self._cut = False  # the last line was written in part

    def start(self, descriptor: int) -> None:
        """From now on lines are written to this file descriptor; those from before have waited."""
        self._descriptor = descriptor
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def isatty(self) -> bool:
        """Whether somebody reads them on a terminal."""
        return self._descriptor >= 0 and os.isatty(self._descriptor)

    def write(self, line: str) -> None:
        """Give a line, with its newline. It never waits."""
        with self._lock:
            if self._waiting + len(line) > self._max_waiting:
                self.dropped += 1
                return
            self._waiting += len(line)
        self._queue.put(line)

    def flush(self, seconds: float) -> bool:
        """Wait until all lines given before are written or dropped, at most so long; returns whether they are."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(seconds)

    def _run(self) -> None:
        told = 0
        while True:
            taken = [self._queue.get()]
            time.sleep(_GATHER_SECONDS)
            with suppress(Empty):
                while True:
                    taken.append(self._queue.get_nowait())
            lines = "".join(each for each in taken if isinstance(each, str))
            lost = self._write(lines.encode("utf-8", "backslashreplace"))
            with self._lock:
                self._waiting -= len(lines)
                self.dropped += lost
            for each in taken:
                if isinstance(each, threading.Event):
                    each.set()
            if lines and not lost and self.dropped > told:
                told, new = self.dropped, self.dropped - told
                self._on_dropped(new)

    def _write(self, data: bytes) -> int:
        """Wait as long as it takes; returns how many lines could not be written, or not wholly."""
        rest = memoryview(b"\n" + data if self._cut else data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # whoever made the pipe wants no waiting at its end, and so at ours
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
        except OSError:  # nobody reads any more, or the disk is full
            self._cut = self._cut or len(rest) < len(data)
        else:
            self._cut = False
        return bytes(rest).count(b"\n")

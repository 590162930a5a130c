"""Writes lines to a file descriptor in a thread, so that a slow or absent reader blocks nothing else.

The event loop would block in `write` as soon as the pipe at standard error is full. So a thread writes, and lines
are dropped while too many wait. Standard error itself is not replaced by a pipe that we read: the last words of a
crashing C library would be lost in it. `logging.handlers.QueueListener` does not fit: it interrupts the event loop
for each line, and its `stop` waits until somebody reads.
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
# A line wakes the thread, which then also takes all lines of this time. Waking for each would interrupt the event
# loop as often.
_GATHER_SECONDS = 0.01


class LineWriter:
    """Writes lines in a thread, and drops new ones while too many wait.

    `on_dropped` is called in the thread with the number of dropped lines, as soon as lines can be written again.

    Attributes:
        dropped: lines that were not written, since the start.
    """

    def __init__(self, on_dropped: Callable[[int], None], max_waiting: int = _MAX_WAITING) -> None:
        """`max_waiting`: the maximum number of waiting characters."""
        self.dropped = 0
        self._on_dropped = on_dropped
        self._max_waiting = max_waiting
        # Reentrant: a finalizer that logs may run in a thread that holds them.
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._lock = threading.RLock()  # guards `dropped` and `_waiting`
        self._waiting = 0
        self._descriptor = -1
        self._cut = False  # the last line was written only in part

    def start(self, descriptor: int) -> None:
        """Begin to write to this file descriptor, with the lines that wait already."""
        self._descriptor = descriptor
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def isatty(self) -> bool:
        """Whether the lines go to a terminal."""
        return self._descriptor >= 0 and os.isatty(self._descriptor)

    def write(self, line: str) -> None:
        """Queue a line, which ends in a newline. Never blocks."""
        with self._lock:
            if self._waiting + len(line) > self._max_waiting:
                self.dropped += 1
                return
            self._waiting += len(line)
        self._queue.put(line)

    def flush(self, seconds: float) -> bool:
        """Wait, at most `seconds`, until all queued lines are written or dropped; return whether they are."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(seconds)

    def _run(self) -> None:
        reported = 0
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
            if lines and not lost and self.dropped > reported:
                reported, new = self.dropped, self.dropped - reported
                self._on_dropped(new)

    def _write(self, data: bytes) -> int:
        """Write the lines, blocking; return how many were not, or not wholly, written."""
        rest = memoryview(b"\n" + data if self._cut else data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # the pipe was made non-blocking by its other end
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
        except OSError:  # the reader is gone, or the disk is full
            self._cut = self._cut or len(rest) < len(data)
        else:
            self._cut = False
        return bytes(rest).count(b"\n")

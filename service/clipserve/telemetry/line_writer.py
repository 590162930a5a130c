"""Lines to a file descriptor, written by a thread of its own: nobody waits for whoever reads them, or does not.

The event loop would stop in `write` as soon as the pipe at standard error is full. So a thread writes, and lines
are dropped while too many wait. Standard error itself is not replaced by a pipe that we read: what a C library says
when it crashes would stay in it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue

_MAX_WAITING = 4_000_000  # characters: some 20,000 lines of requests
# A line wakes the thread, which then takes all that come in this time with it. To be woken by each would interrupt
# the event loop as often.
_GATHER_SECONDS = 0.01
# POSIX: so many bytes are written to a pipe at once or not at all, so that lines of several processes do not mix.
_AT_ONCE = select.PIPE_BUF


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
            lines, waiting_for_it = self._gather()
            lost = sum(map(self._write, _parts(lines)))
            with self._lock:
                self._waiting -= sum(map(len, lines))
                self.dropped += lost
            for event in waiting_for_it:
                event.set()
            if lines and not lost and self.dropped > told:
                told, new = self.dropped, self.dropped - told
                self._on_dropped(new)

    def _gather(self) -> tuple[list[str], list[threading.Event]]:
        """Wait for a line, and for a moment for more."""
        found = [self._queue.get()]
        if isinstance(found[0], str):
            time.sleep(_GATHER_SECONDS)
        try:
            while True:
                found.append(self._queue.get_nowait())
        except Empty:
            pass
        lines = [each for each in found if isinstance(each, str)]
        return lines, [each for each in found if not isinstance(each, str)]

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


def _parts(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines joined to as much as is written at once; a longer line is a part of its own."""
    part = b""
    for line in lines:
        data = line.encode("utf-8", "backslashreplace")
        if len(part) + len(data) > _AT_ONCE and part:
            yield part
            part = b""
        part += data
    if part:
        yield part

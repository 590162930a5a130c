"""Thousands of connections that do as little as they can, in a process of its own.

    python -m tests.abuse.crowd HOST PORT COUNT SOURCE...

A third are idle, a third have sent half a header, a third send a body a byte a second. What the server closes is
opened again. Each second a line: how many are open, and how many were closed so far.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.abuse.wire import Address

_HALF = b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
_KINDS = (b"", _HALF, _HALF + b"Content-Length: 100000\r\n\r\n")
_DRIPS = 2  # the kind that goes on sending
_AT_ONCE = 100  # connections begun between two looks at the others


@contextmanager
def crowd(address: Address, count: int, *sources: str) -> Iterator[subprocess.Popen[str]]:
    """So many connections, from these addresses in turn, while the block lasts."""
    command = [sys.executable, "-m", "tests.abuse.crowd", address[0], str(address[1]), str(count), *sources]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class _Crowd:
    def __init__(self, address: Address, sources: list[str]) -> None:
        self.closed = 0
        self._address = address
        self._sources = itertools.cycle(sources)
        self._kinds = itertools.cycle(range(len(_KINDS)))
        self._poll = select.poll()
        self._open: dict[int, tuple[socket.socket, int]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open_one(self) -> None:
        kind = next(self._kinds)
        try:
            connection = socket.create_connection(self._address, 5, (next(self._sources), 0))
            connection.sendall(_KINDS[kind])
        except OSError:
            self.closed += 1
            return
        connection.setblocking(False)
        self._open[connection.fileno()] = (connection, kind)
        self._poll.register(connection, select.POLLIN)

    def drop_closed(self) -> None:
        for fd, _ in self._poll.poll(0):
            connection, _ = self._open[fd]
            try:
                data = connection.recv(65_536)
            except OSError:
                data = b""
            if not data:
                self._poll.unregister(fd)
                del self._open[fd]
                connection.close()
                self.closed += 1

    def drip(self) -> None:
        for connection, kind in self._open.values():
            if kind == _DRIPS:
                with contextlib.suppress(OSError):
                    connection.send(b" ")


def main() -> None:
    os.nice(19)  # hostile clients bring their own CPUs
    host, port, count, *sources = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = _Crowd((host, int(port)), sources)
    while True:
        second = time.monotonic()
        crowd.drip()
        while time.monotonic() < second + 1:
            for _ in range(min(_AT_ONCE, int(count) - len(crowd))):
                crowd.open_one()
            crowd.drop_closed()
            time.sleep(0.05)
        print(len(crowd), crowd.closed, flush=True)


if __name__ == "__main__":
    main()

"""Connections of one address in closed loops on a route: each answer brings the next request. In its own process.

    python -m tests.abuse.loops HOST PORT COUNT ROUTE SOURCE

What the server closes or refuses is opened again a moment later. Each second a line: how many are open, and how
many answers came so far.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from loadtests.bodies import photo
from tests.abuse.answers import http_answers
from tests.abuse.attack import GET, form, good, head, part, request
from tests.abuse.wire import Address

_AGAIN_SECONDS = 0.1  # until a connection that was refused is opened again
_AT_ONCE = 100  # connections begun between two looks at the others
_number = itertools.count()


def _put() -> bytes:
    """A definition that is new each time, in one of fifty names."""
    number = next(_number)
    labels = json.dumps({"labels": [f"thing {number}", f"other {number}"]}).encode()
    return request(f"/label-sets/{os.getpid()}-{number % 50}", labels, method="PUT")


_TEXTS = json.dumps({"texts": ["a photo of a cat on a mat " * 10] * 30}).encode()  # 8 KB
_SIDES = [part("image", photo(640, 480), "a"), *(part("to_text", word, None) for word in (b"cat", b"dog"))]
ROUTES: Mapping[str, Callable[[], bytes]] = {
    "tokenize": lambda: request("/tokenize", _TEXTS),
    "put": _put,
    "classify": good,
    "embed": lambda: request("/embed", photo(640, 480), "image/jpeg"),
    "similarity": lambda: form("/similarity", _SIDES),
    "bulk": lambda: request("/embed", _TEXTS, "application/json", "X-Priority: bulk"),
    "models": lambda: head("/v1/models", method="GET"),
    "livez": lambda: GET,
}


@contextmanager
def loops(address: Address, count: int, route: str, source: str) -> Iterator[subprocess.Popen[str]]:
    """So many connections while the block lasts, which begins when they have had their first answers."""
    command = [
        sys.executable,
        "-m",
        "tests.abuse.loops",
        address[0],
        str(address[1]),
        str(count),
        route,
        source,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while not int((process.stdout.readline() or "0 1").split()[1]):
            pass
        yield process
    finally:
        process.kill()
        process.communicate()


class _Loops:
    def __init__(self, address: Address, count: int, route: str, source: str) -> None:
        self.answers = 0
        self._address, self._source = address, source
        self._make = ROUTES[route]
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytearray]] = {}
        self._closed = [0.0] * count  # when each is to be opened, the earliest first

    def __len__(self) -> int:
        return len(self._open)

    def open_some(self) -> None:
        now = time.monotonic()
        for _ in range(_AT_ONCE):
            if not self._closed or self._closed[0] > now:
                return
            self._closed.pop(0)
            connection = socket.socket()
            connection.bind((self._source, 0))
            connection.setblocking(False)
            connection.connect_ex(self._address)
            self._open[connection.fileno()] = connection, bytearray()
            self._poll.register(connection, select.EPOLLOUT)

    def look(self) -> None:
        for fd, events in self._poll.poll(0.02):
            connection, data = self._open[fd]
            try:
                if events & select.EPOLLOUT:
                    self._ask(connection)
                else:
                    self._read(connection, data)
            except OSError:
                self._poll.unregister(fd)
                del self._open[fd]
                connection.close()
                self._closed.append(time.monotonic() + _AGAIN_SECONDS)

    def _ask(self, connection: socket.socket) -> None:
        connection.setblocking(True)  # at most a photo, which fits into the system's buffers
        connection.settimeout(5)
        connection.sendall(self._make())
        connection.setblocking(False)
        self._poll.modify(connection, select.EPOLLIN)

    def _read(self, connection: socket.socket, data: bytearray) -> None:
        received = connection.recv(65_536)
        if not received:
            raise OSError
        data += received
        if answer := http_answers(data):
            self.answers += 1
            if answer.status == 503:
                raise OSError  # too many connections
            self._ask(connection)


def main() -> None:
    os.nice(19)  # hostile clients bring their own CPUs
    host, port, count, route, source = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loops, said = _Loops((host, int(port)), int(count), route, source), 0.0
    while True:
        loops.open_some()
        loops.look()
        if time.monotonic() > said + 1:
            said = time.monotonic()
            print(len(loops), loops.answers, flush=True)


if __name__ == "__main__":
    os.nice(19)  # an attacker computes elsewhere: here it must not take the cores that the service has
    main()

"""A client on a raw socket that plays an attack: it sends, reads at the same time, and judges nothing."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.abuse.answers import Answer, Take, http_answers
from tests.abuse.attack import Act, Piece

_CHUNK = 1 << 18
Address = tuple[str, int]


@dataclass
class Played:
    """`closed`: the server closed the connection. `seconds`: until the last answer or the end."""

    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


class Connection:
    """One connection to the server, from the address `source`; `take` finds answers in what it sends."""

    def __init__(self, address: Address, source: str | None = None, take: Take = http_answers) -> None:
        self.played = Played()
        self._socket = socket.create_connection(address, 20, (source, 0) if source else None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unparsed = bytearray()
        self._take = take
        self._deaf = False

    def send(self, data: bytes, until: float) -> None:
        """All of it, unless the server closes the connection; what it answers meanwhile is read."""
        view = memoryview(data)
        while view and not self.played.closed and time.monotonic() < until:
            readable, writable = self._ready(True, until)
            if readable:
                self._read()
            if writable and not self.played.closed:
                try:
                    sent = self._socket.send(view[:_CHUNK])
                except BlockingIOError:
                    continue
                except OSError:
                    self._read_rest()
                    return
                self.played.sent += sent
                view = view[sent:]

    def wait(self, until: float, answers: int | None = None) -> None:
        """Read until that time, the server's end, or so many answers."""
        while not self.played.closed and time.monotonic() < until:
            if answers is not None and len(self.played.answers) >= answers:
                return
            if self._deaf:
                time.sleep(min(0.05, max(0.0, until - time.monotonic())))
            elif self._ready(False, until)[0]:
                self._read()

    def act(self, act: Act) -> None:
        if act is Act.DEAF:
            self._deaf = True
        elif act is Act.HALF_CLOSE:
            self._socket.shutdown(socket.SHUT_WR)
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            self.played.closed = True

    def close(self) -> None:
        self._socket.close()

    def _ready(self, writing: bool, until: float) -> tuple[bool, bool]:
        poll = select.poll()
        poll.register(self._socket, (0 if self._deaf else select.POLLIN) | (select.POLLOUT if writing else 0))
        events = poll.poll(max(0.0, min(1.0, until - time.monotonic())) * 1000)
        got = events[0][1] if events else 0
        return bool(got & ~select.POLLOUT), bool(got & select.POLLOUT)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.played.closed = not data
        self.played.received += len(data)
        self._unparsed += data
        while answer := self._take(self._unparsed):
            if answer.status >= 200:
                self.played.answers.append(answer)

    def _read_rest(self) -> None:
        """After an error of sending: an answer may have come before it."""
        until = time.monotonic() + 0.5
        while not self.played.closed and time.monotonic() < until:
            if self._ready(False, until)[0]:
                self._read()
        self.played.closed = True


def play(
    address: Address,
    pieces: Iterable[Piece],
    answers: int = 1,
    most_seconds: float = 60.0,
    source: str | None = None,
    take: Take = http_answers,
) -> Played:
    """Play this on a connection of its own, for at most so long. Where none is to be had it is closed."""
    started = time.monotonic()
    until = started + most_seconds
    awaited = 0
    try:
        connection = Connection(address, source, take)
    except OSError:
        return Played(closed=True, seconds=time.monotonic() - started)
    try:
        deaf = False
        for piece in pieces:
            deaf = deaf or piece is Act.DEAF
            if connection.played.closed or time.monotonic() >= until:
                break
            if isinstance(piece, bytes):
                connection.send(piece, until)
            elif piece is Act.AWAIT:
                awaited += 1
                connection.wait(until, awaited)
            elif isinstance(piece, Act):
                connection.act(piece)
            elif callable(piece):
                piece()
            else:
                connection.wait(min(until, time.monotonic() + piece))
        if not deaf:  # who does not read leaves when it has nothing more to do
            connection.wait(until, answers)
    except OSError:
        connection.played.closed = True
    finally:
        connection.close()
    connection.played.seconds = time.monotonic() - started
    return connection.played

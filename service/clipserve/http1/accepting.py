"""Accepts all connections that wait, in one turn of the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

_AT_ONCE = 256  # connections accepted between two turns of the event loop


class Waiting:
    """The connections that wait to be accepted.

    uvloop accepts one in each turn of the event loop (libuv since 1.45). An address that is refused and connects
    again, on hundreds of sockets, would keep all others waiting for hundreds of turns. So each connection that it
    accepts brings those behind it, too.
    """

    def __init__(self, connect: Callable[[], asyncio.Protocol]) -> None:
        self._connect = connect
        self._listeners: Sequence[socket.socket] = ()
        self._due = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Accept from these, too, which the caller keeps."""
        self._listeners = [listener.dup() for listener in listeners]
        for listener in self._listeners:
            listener.setblocking(False)

    def close(self) -> None:
        """Accept no more."""
        for listener in self._listeners:
            listener.close()
        self._listeners = ()

    def accept_soon(self) -> None:
        """Accept what waits, in the loop's next turn."""
        if not self._due and self._listeners:
            self._due = True
            asyncio.get_running_loop().call_soon(self._accept)

    def _accept(self) -> None:
        self._due = False
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for _ in range(_AT_ONCE):
                try:
                    accepted, _ = listener.accept()
                except OSError:  # none waits, or the process has too many files
                    break
                task = loop.create_task(loop.connect_accepted_socket(self._connect, accepted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

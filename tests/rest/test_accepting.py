"""Connections that wait are accepted together, so that nobody waits behind hundreds of another one's."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import ExitStack
from functools import partial

import uvloop
from starlette.types import Receive, Scope, Send

from clipserve.rest.connections import Connections
from clipserve.rest.server import Server
from clipserve.telemetry.metrics import Metrics
from tests.rest.test_connections import LIMITS
from tests.support import eventually

COUNT = 100


class Accepted(asyncio.Protocol):
    """A connection that does nothing."""

    def __init__(self, accepted: list[asyncio.BaseTransport], *_: object) -> None:
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._accepted.append(transport)


async def nobody(_: Scope, __: Receive, ___: Send) -> None:
    """An application that is not asked."""


def server_of(accepted: list[asyncio.BaseTransport]) -> Server:
    server = Server(nobody, Connections(LIMITS, Metrics()), 0)
    server.connect = partial(Accepted, accepted)
    return server


class Full(socket.socket):
    """A listener of a process with too many open files, the first time."""

    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


async def turns_until_all_are_accepted() -> int:
    accepted: list[asyncio.BaseTransport] = []

    server = server_of(accepted)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * COUNT))
        for _ in range(COUNT):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        serving = asyncio.create_task(server.serve([listener]))
        turns = 0
        while len(accepted) < COUNT:
            await asyncio.sleep(0)
            turns += 1
        server.end()
        await serving
        for transport in accepted:
            transport.close()
        await asyncio.sleep(0)
    return turns


def test_a_hundred_that_wait_are_accepted_in_a_few_turns_of_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_until_all_are_accepted()) < COUNT / 4


async def test_a_process_with_too_many_open_files_accepts_again_after_a_while() -> None:
    accepted: list[asyncio.BaseTransport] = []
    server = server_of(accepted)
    with Full() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(server.serve([listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname())
        await eventually(lambda: len(accepted) == 1)
        assert listener.tries <= 3  # the failure, this one, and one that finds none: it is no busy loop
        writer.close()
        accepted[0].close()
        server.end()
        await serving

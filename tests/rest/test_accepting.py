"""Connections that wait are accepted together, so that nobody waits behind hundreds of another one's."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import uvloop

from clipserve.http1.accepting import Waiting

COUNT = 100


async def turns_until_all_are_accepted() -> int:
    accepted: list[asyncio.BaseTransport] = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    def connect() -> Accepted:
        waiting.accept_soon()
        return Accepted()

    waiting = Waiting(connect)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * COUNT))
        for _ in range(COUNT):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        server = await asyncio.get_running_loop().create_server(connect, sock=listener)
        waiting.listen([listener])
        turns = 0
        while len(accepted) < COUNT:
            await asyncio.sleep(0)
            turns += 1
        waiting.close()
        server.close()
        for transport in accepted:
            transport.close()
        await asyncio.sleep(0)
    return turns


def test_a_hundred_that_wait_are_accepted_in_a_few_turns_of_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_until_all_are_accepted()) < COUNT / 4

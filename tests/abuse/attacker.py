"""Plays attacks on connections of one address, in a process of its own: `main` is its target.

Each connection repeats the pieces for so many seconds; with 0 it plays them once, as long as the attack's patience
lasts. At the end it says what came back. It judges answers, and nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from tests.abuse.answers import RpcAnswers, fault_of, http_answers
from tests.abuse.attack import Act, Attack, Piece, Played

_CHUNK = 1 << 18
_PAUSE = 0.1  # seconds, when there is no connection to be had
Told = tuple[Counter[int], set[str]]  # how often each status came; faults


class Client(asyncio.Protocol):
    """One connection: it counts answers, and reads while it sends."""

    def __init__(self, attack: Attack, statuses: Counter[int], faults: set[str]) -> None:
        self._attack, self._statuses, self._faults = attack, statuses, faults
        self._take = RpcAnswers() if attack.rpc else http_answers
        self._unparsed = bytearray()
        self._changed, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self.answers, self.closed = 0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        while answer := self._take(self._unparsed):
            if answer.status < 200:
                continue
            self.answers += 1
            self._statuses[answer.status] += 1
            if fault := fault_of(answer, self._attack):
                self._faults.add(fault)
        self._changed.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._changed.set()
        self._room.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def play(self, pieces: Sequence[Piece]) -> None:
        awaited = 0
        for piece in pieces:
            if self.closed:
                return
            if isinstance(piece, bytes):
                await self._send(piece)
            elif piece is Act.AWAIT:
                await self._until(awaited := awaited + 1)
            elif isinstance(piece, Act):
                self._act(piece)
            else:
                await asyncio.sleep(piece)
        if Act.DEAF not in pieces:  # who does not read leaves when it has nothing more to do
            await self._until(self._attack.answers)

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK):
            if self.closed:
                return
            self.transport.write(data[start : start + _CHUNK])
            await self._room.wait()

    async def _until(self, answers: int) -> None:
        while self.answers < answers and not self.closed:
            self._changed.clear()
            await self._changed.wait()

    def _act(self, act: Act) -> None:
        if act is Act.DEAF:
            self.transport.pause_reading()
        else:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


async def _repeat(played: Played, until: float, statuses: Counter[int], faults: set[str]) -> None:
    """Play it until then, and at least once."""
    attack = played.attack
    host, port, source = played.address
    make = functools.partial(Client, attack, statuses, faults)
    while True:
        left = until - time.monotonic() if until else attack.patience
        try:
            _, client = await asyncio.get_running_loop().create_connection(
                make, host, port, local_addr=(source, 0)
            )
            try:
                async with asyncio.timeout(max(left, 0.5)):
                    await client.play(played.pieces)
            except TimeoutError:
                if not until and not client.answers and attack.patience >= Attack.patience:
                    faults.add(f"neither answered nor closed in {attack.patience:g} s")
            if not until and not client.answers and not attack.silent:
                faults.add("no answer")
            if not client.closed:
                client.transport.abort()
        except OSError:
            await asyncio.sleep(_PAUSE)
        if time.monotonic() >= until:
            return


async def _play(played: Played) -> Told:
    statuses, faults = Counter[int](), set[str]()
    until = time.monotonic() + played.seconds if played.seconds else 0.0
    async with asyncio.TaskGroup() as group:
        for _ in range(played.connections):
            group.create_task(_repeat(played, until, statuses, faults))
    return statuses, faults


def main(orders: Connection[Told, Played]) -> None:
    """Answer each `Played`."""
    os.nice(19)  # an attacker computes elsewhere: here it must not take the cores that the service has
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with suppress(EOFError):  # the other end is closed
        while True:
            orders.send(asyncio.run(_play(orders.recv())))

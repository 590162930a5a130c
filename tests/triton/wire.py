"""A port that leads to a server, and that can be cut as if the server had been killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from loadtests.process import free_port


class Wire:
    """Leads to `port` of this machine between `join` and `cut`; elsewhen connections are refused.

    `pause`: seconds until a connection leads there.
    """

    def __init__(self, port: int, pause: float = 0.0) -> None:
        self._to, self._pause = port, pause
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def join(self) -> None:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """End every connection at once, and take no new ones: what the kernel does for a process that is killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._pause)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        if self._server is None:  # cut meanwhile
            writer.transport.abort()
            far_writer.transport.abort()
            return
        self._ends |= (ends := {writer, far_writer})
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        self._ends -= ends


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while read := await reader.read(1 << 16):
            writer.write(read)
            await writer.drain()
    writer.close()

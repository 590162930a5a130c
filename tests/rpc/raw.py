"""HTTP/2 frame by frame, for what a gRPC library does not do: half a message, no room for an answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
_INITIAL_WINDOW = 4  # the setting of that name
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Connection:
    """One connection; streams have odd numbers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._writer.write(struct.pack(">I", len(payload))[1:] + bytes([kind, flags]))
        self._writer.write(struct.pack(">I", stream) + payload)

    def call(self, stream: int, method: str = "Embed", **metadata: str) -> None:
        """The headers of a call; `metadata` with underscores."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/clipserve.v1.Clip/{method}",
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
        } | {name.replace("_", "-"): value for name, value in metadata.items()}
        block = b"".join(_literal(name) for pair in fields.items() for name in [pair])
        self.send(HEADERS, END_HEADERS, stream, block)

    def message(self, stream: int, data: bytes, *, announced: int | None = None, end: bool = True) -> None:
        """A message, or the beginning of one of `announced` bytes."""
        size = len(data) if announced is None else announced
        body = struct.pack(">BI", 0, size) + data
        for at in range(0, len(body), 16_384):
            last = end and at + 16_384 >= len(body)
            self.send(DATA, END_STREAM if last else 0, stream, body[at : at + 16_384])

    async def drain(self) -> None:
        await self._writer.drain()

    async def frames(self) -> AsyncIterator[Frame]:
        """What the server sends, until it closes; settings and pings are acknowledged."""
        while True:
            try:
                head = await self._reader.readexactly(9)
                size = int.from_bytes(head[:3], "big")
                frame = Frame(
                    head[3], head[4], int.from_bytes(head[5:], "big"), await self._reader.readexactly(size)
                )
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if frame.kind in (SETTINGS, PING) and not frame.flags & ACK:
                self.send(frame.kind, ACK, 0, b"" if frame.kind == SETTINGS else frame.payload)
            yield frame

    async def ended(self, stream: int, seconds: float = 10) -> Frame:
        """The frame that ends the stream: headers (of trailers), or its reset."""
        async with asyncio.timeout(seconds):
            async for frame in self.frames():
                if frame.stream == stream and (frame.kind == RST_STREAM or frame.flags & END_STREAM):
                    return frame
        raise AssertionError("the connection was closed")


def _literal(pair: tuple[str, str]) -> bytes:
    """A field of headers in HPACK's plainest form."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair)


@asynccontextmanager
async def connected(address: str, window: int = 65_535) -> AsyncIterator[Connection]:
    """`window`: bytes that the server may send on a stream before it is given more."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    writer.write(_PREFACE)
    connection.send(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window))
    try:
        yield connection
    finally:
        writer.transport.abort()

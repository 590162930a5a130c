"""HTTP/2 frame by frame, for what a gRPC library does not do: half a message, no room for an answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
_INITIAL_WINDOW = 4  # the setting of that name
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_PAYLOAD = 16_384


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

    def send(self, *parts: bytes) -> None:
        """Frames, one after another."""
        self._writer.write(b"".join(parts))

    async def frames(self) -> AsyncIterator[Frame]:
        """What the server sends, until it closes; settings and pings are acknowledged."""
        while True:
            try:
                head = await self._reader.readexactly(9)
                size = int.from_bytes(head[:3], "big")
                came = Frame(
                    head[3], head[4], int.from_bytes(head[5:], "big"), await self._reader.readexactly(size)
                )
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if came.kind in (SETTINGS, PING) and not came.flags & ACK:
                self.send(frame(came.kind, ACK, 0, b"" if came.kind == SETTINGS else came.payload))
            yield came


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def call(stream: int, method: str = "Embed", **metadata: str) -> bytes:
    """The headers of a call; `metadata` with underscores."""
    return frame(HEADERS, END_HEADERS, stream, fields_of(f"/clipserve.v1.Clip/{method}", **metadata))


def fields_of(path: str, **metadata: str) -> bytes:
    """The fields of a call's headers."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    } | {name.replace("_", "-"): value for name, value in metadata.items()}
    return b"".join(field(name, value) for name, value in fields.items())


def field(name: str, value: str) -> bytes:
    """A field of headers in HPACK's plainest form; each of at most 126 bytes."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def message(
    stream: int, data: bytes, *, announced: int | None = None, end: bool = True, compressed: bool = False
) -> bytes:
    """A message, or the beginning of one of `announced` bytes, in frames of data."""
    body = struct.pack(">BI", compressed, len(data) if announced is None else announced) + data
    starts = range(0, len(body), _MAX_PAYLOAD)
    return b"".join(
        frame(DATA, END_STREAM if end and at == starts[-1] else 0, stream, body[at : at + _MAX_PAYLOAD])
        for at in starts
    )


@asynccontextmanager
async def connected(address: str, window: int = 65_535) -> AsyncIterator[Connection]:
    """`window`: bytes that the server may send on a stream before it is given more."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    connection.send(PREFACE, frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window)))
    try:
        yield connection
    finally:
        writer.transport.abort()

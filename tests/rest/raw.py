"""A client that says what no HTTP library would."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from clipserve.telemetry.metrics import Metrics
from tests.support.service import Running


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> Any:
        return json.loads(self.body)["code"]


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """The next answer."""
        async with asyncio.timeout(30):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").rstrip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            size = 0 if bodiless else int(headers.get("content-length", 0))
            return Answer(int(status.split()[1]), headers, await self._reader.readexactly(size))

    async def closed(self) -> bool:
        """Wait until the server closes; whether it said nothing more."""
        try:
            async with asyncio.timeout(30):
                return await self._reader.read() == b""
        except ConnectionError:
            return True

    def leave(self, *, reset: bool = False) -> None:
        """Close, or break off with a reset."""
        if reset:
            plug = self._writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort() if reset else self._writer.close()


@asynccontextmanager
async def connected(running: Running, source: str = "127.0.0.1") -> AsyncIterator[Raw]:
    """A connection from an address of this machine; Linux has the whole of 127.0.0.0/8."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
    raw = Raw(reader, writer)
    try:
        yield raw
    finally:
        raw.leave()


async def ask(running: Running, *parts: bytes, source: str = "127.0.0.1") -> Answer:
    """One request, and its answer."""
    async with connected(running, source) as raw:
        await raw.send(*parts)
        return await raw.answer()


def post(body: bytes, *headers: bytes, path: bytes = b"/embed", kind: bytes = b"image/png") -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % path,
        b"Host: x",
        b"Content-Type: %b" % kind,
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes = b"/livez", *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"Host: x", *headers]) + b"\r\n\r\n"


def hold(running: Running, size: int) -> None:
    """Let another client have so many bytes in flight, to the end of the service."""
    app: Any = running.gateway.app
    app.state.service.budget.lease("another").grow(size)


def requests_counted(metrics: Metrics) -> dict[tuple[str, str], float]:
    """(endpoint, outcome) -> the requests that have ended so."""
    samples = [each for family in metrics.registry.collect() for each in family.samples]
    return {
        (each.labels["endpoint"], each.labels["outcome"]): each.value
        for each in samples
        if each.name == "clipserve_requests_total"
    }

"""A server, a name server and a fetcher for tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from clipserve.fetching.fetcher import Fetcher, Resolve
from clipserve.fetching.hosts import Host
from clipserve.telemetry.metrics import Metrics

IMAGE = b"\x89PNG and more"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    """A server on loopback that answers by the path of a request. `asked`: heads of the requests."""

    port: int = 0
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    answers: dict[bytes, bytes | Answer] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            answer = self.answers.get(head.split(b" ")[1], WHOLE)
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Names:
    """A name server of which each name has addresses, one list for each time that it is asked; the last stays."""

    def __init__(self, **addresses: list[list[str]]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self._addresses.get(host.replace(".", "_").replace("-", "_"), [["127.0.0.1"]])
        return answers[min(self.asked.count(host), len(answers)) - 1]


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


@asynccontextmanager
async def fetching(
    *hosts: str, names: Resolve | None = None, seconds: float = 5.0, max_bytes: int = 1_000
) -> AsyncIterator[Fetcher]:
    listed = list(map(Host.parse, hosts))
    yield Fetcher(listed, max_bytes, Metrics(), seconds=seconds, resolve=names or Names())


async def fetched(fetcher: Fetcher, url: str, caller: str = "") -> bytes:
    async with fetcher.fetched(url, caller) as data:
        return data

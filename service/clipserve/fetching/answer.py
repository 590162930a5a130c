"""One request for an image and its answer, on a connection of its own, parsed by httptools as it comes.

A host decides what it sends: all that is not the image is bounded together (interim answers, headers, sizes of
chunks, trailers), and little is parsed in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from clipserve.fetching.hosts import PORTS, Target

_READ_BYTES = 16_384  # in a turn of the event loop
_BESIDES = 16_384  # bytes besides the image, and one more for each 8 bytes of it
_HEAD = (
    "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: clipserve\r\nAccept: image/*\r\nAccept-Encoding: identity\r\n"
    "Connection: close\r\n\r\n"
)


class NotAnImage(Exception):
    """An image is not fetched; the message is for the log."""


class Answer:
    """What has come so far. `headers`: with names in lower case, complete once `has_head`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader, self._parser, self._came = reader, HttpResponseParser(self), 0
        self.on_message_begin()

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    async def read(self) -> bool:
        """Read a part more. False: the answer is complete.

        Raises:
            NotAnImage: it is malformed, torn, or mostly something else than a body.
        """
        if self._complete and self.status >= 200:
            return False
        if not (data := await self._reader.read(_READ_BYTES)):
            if not self.has_head or self.headers.keys() & {"content-length", "transfer-encoding"}:
                raise NotAnImage("the host closed the connection before the end of its answer")
            return False
        await asyncio.sleep(0)  # a part that was here already does not wait
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise NotAnImage(f"the answer is not HTTP/1.1: {error}") from None
        self._came += len(data)
        if self._came > _BESIDES + len(self.body) * 9 // 8:
            raise NotAnImage(f"the answer has more than {_BESIDES:,} bytes besides the image")
        return True

    def close(self) -> None:
        del self._parser  # else it and this would hold each other, and the body

    # Callbacks of the parser. Interim answers (1xx) come before the answer, as messages of their own.

    def on_message_begin(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.has_head = self._complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self._complete = True


@asynccontextmanager
async def answer_of(
    target: Target, addresses: Sequence[str], tls: ssl.SSLContext, seconds: float
) -> AsyncIterator[Answer]:
    """The head of the answer, from the first of the addresses that can be reached, each within `seconds`.

    Raises:
        NotAnImage: see `Answer.read`.
        OSError: no address can be reached.
    """
    reader, writer = await _connected(target, addresses, tls, seconds)
    answer = Answer(reader)
    try:
        port = "" if target.port == PORTS[target.scheme] else f":{target.port}"
        writer.write(_HEAD.format(target.path, target.host + port).encode())
        while not answer.has_head:
            await answer.read()
        yield answer
    finally:
        writer.transport.abort()
        answer.close()


async def _connected(
    target: Target, addresses: Sequence[str], tls: ssl.SSLContext, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    secure: dict[str, Any] = {"ssl": tls, "server_hostname": target.host} if target.scheme == "https" else {}
    failure: OSError = OSError("the host has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.open_connection(address, target.port, limit=_READ_BYTES, **secure)
        except OSError as error:
            failure = error
    raise failure

"""One request and its answer: ASGI's `receive` and `send`."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from urllib.parse import unquote

from httptools import HttpParserError, parse_url
from starlette.types import ASGIApp, Message, Scope

from clipserve.errors import ClipError, MalformedRequest
from clipserve.http1.answers import CONTINUE, answer_head, chunk
from clipserve.http1.requests import IncomingRequest
from clipserve.telemetry.log import logger

_ONE_WRITE = 65_536  # up to here, head and body of an answer are joined: a copy costs less than a system call
# Our own message to the connection: the request is being answered, even if its body still arrives. From then on the
# connection is WORKING, and if the client leaves, the task of the request is cancelled.
ANSWERING = "clipserve.answering"
_EXTENSIONS: dict[str, dict[str, str]] = {ANSWERING: {}}


class Line(Protocol):
    """The connection of a request; see `Connection`."""

    gone: bool

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer."""

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""

    def write(self, *parts: bytes) -> None:
        """Send these bytes."""

    async def writable(self) -> None:
        """Wait until the client has taken most of the written bytes."""

    def go_on_reading(self) -> None:
        """Read more of the body."""

    def at_work(self) -> None:
        """Note that the answer begins, although the body may still arrive."""

    def answered(self) -> None:
        """Note that the answer is written."""

    def abort(self) -> None:
        """Close the connection now."""


class Cycle:
    """See the module."""

    def __init__(self, line: Line, incoming: IncomingRequest, scope: Scope) -> None:
        self._line = line
        self._incoming = incoming
        self._scope = scope
        self._news = asyncio.Event()
        self._failure: ClipError | None = None
        self._body_given = False
        self._start: Message | None = None  # the answer's start, until its first byte is written
        self._chunked = False
        self._answered = False
        self._answering: asyncio.Task[Any] | None = None  # cancelled if the client leaves

    async def run(self, app: ASGIApp) -> None:
        """Run the application. If it does not answer, close the connection."""
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:  # a bug of the exchange itself, which renders all errors of routes
            logger.error("unexpected", exc_info=error)
        finally:
            self._answering = None  # it holds this object
            if not self._answered:
                self._line.abort()

    def wake(self) -> None:
        """Wake `receive`: a part of the body has arrived, or the client has left."""
        self._news.set()
        if self._answering and self._line.gone:
            self._answering.cancel()

    def fail(self, error: ClipError) -> None:
        """Let `receive` raise this error: the received bytes are not a body."""
        self._failure = error
        self._news.set()

    async def _receive(self) -> Message:
        incoming, line = self._incoming, self._line
        if incoming.expects_continue and not line.gone:
            incoming.expects_continue = False
            line.write(CONTINUE)
        while True:
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            if line.gone or self._answered:
                return {"type": "http.disconnect"}
            if incoming.buffered or (incoming.complete and not self._body_given):
                self._body_given = incoming.complete
                body = incoming.take()
                line.go_on_reading()
                return {"type": "http.request", "body": body, "more_body": not incoming.complete}
            self._news.clear()
            await self._news.wait()

    async def _send(self, message: Message) -> None:
        if message["type"] == ANSWERING:
            self._answering = asyncio.current_task()
            self._line.at_work()
            self.wake()  # the client may have left before
            return
        if self._line.gone:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        head = self._head() if self._start else b""
        if self._scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = chunk(body, last=not more)
        if len(body) <= _ONE_WRITE:
            self._line.write(head + body)
        else:
            self._line.write(head, body)
        if not more:
            self._answered = True
            self._news.set()
            self._line.answered()
        await self._line.writable()

    def _head(self) -> bytes:
        assert self._start
        status, given = self._start["status"], self._start["headers"]
        self._start = None
        self._incoming.expects_continue = False
        names = {name for name, _ in given}
        # HTTP/1.0 has no chunks: closing the connection ends the answer.
        bounded = b"content-length" in names or status in (204, 304)
        self._chunked = not bounded and self._incoming.http_version == "1.1"
        if (b"connection", b"close") in given:
            self._incoming.keep_alive = False
            given = [each for each in given if each[0] != b"connection"]
        headers = [*self._line.default_headers, *given]
        return answer_head(status, headers, keep_alive=self._line.keeps_alive, chunked=self._chunked)


def scope_of(incoming: IncomingRequest, server: tuple[str, int], client: tuple[str, int]) -> Scope:
    """The ASGI scope of a request whose head is complete.

    Raises:
        MalformedRequest: its target is not a path.
    """
    try:
        url = parse_url(incoming.target)
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
    except (HttpParserError, UnicodeDecodeError):
        raise MalformedRequest("the target of the request is not a path.") from None
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": incoming.http_version,
        "server": server,
        "client": client,
        "scheme": "http",
        "method": incoming.method,
        "root_path": "",
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": url.query or b"",
        "headers": incoming.headers,
        "extensions": _EXTENSIONS,
    }

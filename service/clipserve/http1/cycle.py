"""One request and its answer: ASGI's `receive` and `send`."""

from __future__ import annotations

import asyncio
from typing import Protocol
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


class Wire(Protocol):
    """The connection of a request; see `Connection`.

    Attributes:
        gone: it is closed.
        full: the client has yet to take most of the written bytes.
    """

    gone: bool
    full: bool

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer."""

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""

    def write(self, *parts: bytes) -> None:
        """Send these bytes."""

    async def writable(self) -> None:
        """Wait while it is full."""

    def go_on_reading(self) -> None:
        """Read more of the body."""

    def at_work(self) -> None:
        """Note that the answer begins, although the body may still arrive."""

    def answered(self) -> None:
        """Note that the answer is written."""

    def ended(self, cycle: Cycle) -> None:
        """Note that the application has returned."""


class Cycle:
    """See the module.

    Attributes:
        answered: the answer is written.
    """

    def __init__(self, line: Wire, incoming: IncomingRequest, scope: Scope) -> None:
        self.answered = False
        self._line = line
        self._incoming = incoming
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Future[None] | None = None  # while `receive` waits
        self._failure: ClipError | None = None
        self._received = False  # the application has called `receive`
        self._body_given = False
        self._start: Message | None = None  # the answer's start, until its first byte is written
        self._chunked = False
        self._answering = False  # see `ANSWERING`

    def start(self, app: ASGIApp) -> None:
        """Run the application in a task."""
        self._task = asyncio.get_running_loop().create_task(self._run(app))

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:  # a bug of the exchange itself, which renders all errors of routes
            logger.error("unexpected", exc_info=error)
        finally:
            self._task = None  # it holds this object
            self._line.ended(self)

    def cancel(self, msg: str) -> None:
        """Give the request up."""
        if self._task:
            self._task.cancel(msg)

    def wake(self) -> None:
        """Wake `receive`: a part of the body has arrived, or the client has left."""
        if self._news and not self._news.done():
            self._news.set_result(None)
        if self._answering and self._task and self._line.gone:
            self._task.cancel()

    def fail(self, error: ClipError) -> None:
        """Let `receive` raise this error: the received bytes are not a body."""
        self._failure = error
        self.wake()

    async def _receive(self) -> Message:
        """The next message. The first call does not wait: it returns what has arrived, which may be nothing."""
        incoming, line = self._incoming, self._line
        if incoming.expects_continue and not line.gone:
            incoming.expects_continue = False
            line.write(CONTINUE)
        while True:
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            if line.gone or self.answered:
                return {"type": "http.disconnect"}
            if not self._received or incoming.buffered or (incoming.complete and not self._body_given):
                self._received, self._body_given = True, incoming.complete
                body = incoming.take()
                if not incoming.complete:
                    line.go_on_reading()
                return {"type": "http.request", "body": body, "more_body": not incoming.complete}
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    async def _send(self, message: Message) -> None:
        if message["type"] == ANSWERING:
            self._answering = True
            self._line.at_work()
            if self._line.gone:
                self.wake()
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
            self.answered = True
            self.wake()
            self._line.answered()
        if self._line.full:
            await self._line.writable()

    def _head(self) -> bytes:
        assert self._start
        status, given = self._start["status"], self._start["headers"]
        self._start = None
        self._incoming.expects_continue = False
        bounded = status in (204, 304)
        for name, _ in given:
            bounded = bounded or name == b"content-length"
        # HTTP/1.0 has no chunks: closing the connection ends the answer.
        self._chunked = not bounded and self._incoming.http_version == "1.1"
        if (b"connection", b"close") in given:
            self._incoming.keep_alive = False
            given = [header for header in given if header[0] != b"connection"]
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

"""The operations port as HTTP: one request a connection, within its time, and no more connections than a few."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

import h11
import orjson

from clipserve.access.hosts import Hosts
from clipserve.errors import ClipError, MisdirectedRequest
from clipserve.telemetry.log import logger

_CONNECTIONS = 64  # one more, and the oldest is closed
_CONNECTION_SECONDS = 5.0  # from its beginning to its end: a connection is for one request
_MAX_HEADER_BYTES = 8_192
JSON, _PROBLEM = "application/json", "application/problem+json"

Answer = tuple[HTTPStatus, str, bytes]  # status, media type, body


class Page(Protocol):
    """What is answered there."""

    def livez(self) -> Answer: ...
    def readyz(self) -> Answer: ...
    async def metrics(self, headers: Mapping[bytes, bytes]) -> Answer: ...


async def serve_port(listener: socket.socket, page: Page, hosts: Hosts, stop: asyncio.Event) -> None:
    """Answer until `stop` is set. `listener` is closed in the end. `hosts`: whom requests may be for."""
    connections: dict[_Connection, None] = {}  # oldest first
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(connections, page, hosts), sock=listener
    )
    await stop.wait()
    server.close()
    for connection in [*connections]:
        connection.close()


class _Connection(asyncio.Protocol):
    """One request and its answer, within the time of a connection."""

    def __init__(self, connections: dict[_Connection, None], page: Page, hosts: Hosts) -> None:
        self._connections = connections
        self._page = page
        self._hosts = hosts
        self._answering: asyncio.Task[None] | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._answered = self._head = self._client_is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_CONNECTION_SECONDS, transport.abort)
        self._connections[self] = None
        if len(self._connections) > _CONNECTIONS:
            next(iter(self._connections)).close()

    def connection_lost(self, _: Exception | None) -> None:
        self._timer.cancel()
        self._connections.pop(self, None)
        if self._answering:
            self._answering.cancel()

    def close(self) -> None:
        """Now, whatever it is doing."""
        self._connections.pop(self, None)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._http.receive_data(data)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._answered = True
            self._send(problem(HTTPStatus(error.error_status_hint), "bad_request", f"{error}."))
            return
        if isinstance(event, h11.Request):
            self._answered = True
            self._head = event.method == b"HEAD"
            self._answering = asyncio.create_task(self._answer(event))

    def eof_received(self) -> bool:
        """Whether it stays open: a client that has said all still waits for its answer."""
        self._client_is_done = True
        return self._answering is not None and not self._answering.done()

    async def _answer(self, request: h11.Request) -> None:
        try:
            answer = await self._answer_to(request)
        except MisdirectedRequest as error:
            answer = problem(HTTPStatus.MISDIRECTED_REQUEST, error.code, error.detail)
        except Exception as error:  # a fault of ours, or of the library that writes the metrics
            logger.error("unexpected", exc_info=error)
            answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, ClipError.code, "the page could not be made.")
        self._send(answer)

    async def _answer_to(self, request: h11.Request) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return problem(
                HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD are answered here."
            )
        headers = dict(request.headers)
        if [name for name, _ in request.headers].count(b"authorization") > 1:
            return problem(
                HTTPStatus.BAD_REQUEST, "bad_request", "there are two Authorization headers; send one."
            )
        self._hosts.check(headers.get(b"host"))
        match request.target.partition(b"?")[0]:
            case b"/livez":
                return self._page.livez()
            case b"/readyz":
                return self._page.readyz()
            case b"/metrics":
                return await self._page.metrics(headers)
        return problem(HTTPStatus.NOT_FOUND, "not_found", "there is /livez, /readyz and /metrics here.")

    def _send(self, answer: Answer) -> None:
        """And wait for the client to close: to close first could tear the answer away from it."""
        status, media_type, body = answer
        headers = [("content-type", media_type), ("content-length", str(len(body))), ("connection", "close")]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("allow", "GET, HEAD"))
        if status == HTTPStatus.UNAUTHORIZED:
            headers.append(("www-authenticate", "Bearer"))
        events: list[h11.Event] = [h11.Response(status_code=status, headers=headers, reason=status.phrase)]
        if not self._head:
            events.append(h11.Data(data=body))
        for event in (*events, h11.EndOfMessage()):
            self._transport.write(self._http.send(event) or b"")
        self._transport.write_eof()
        if self._client_is_done:
            self._transport.close()


def problem(status: HTTPStatus, code: str, detail: str, **numbers: float) -> Answer:
    """An error as application/problem+json."""
    body = {
        "type": f"urn:clipserve:error:{code}",
        "title": status.phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return status, _PROBLEM, orjson.dumps(body | numbers)

"""The operations port: probes and metrics, from a thread with a small event loop of its own.

It answers when the main event loop cannot, and so can say that this one is blocked. Both share Python's lock (the
GIL): C code that holds it for long holds up both.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import h11
import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from service.errors import PermissionDenied, Unauthenticated

_BEAT_SECONDS = 0.25
_READY_SECONDS = 2.0  # without a beat for so long, the service is not ready
_CONNECTIONS = 64  # one more, and the oldest is closed
_CONNECTION_SECONDS = 5.0  # from its beginning to its end: a connection is for one request
_MAX_HEADER_BYTES = 8_192
_JSON, _PROBLEM = "application/json", "application/problem+json"

Answer = tuple[HTTPStatus, str, bytes]  # status, media type, body
Check = Callable[
    [str | None], object
]  # of a header Authorization; raises Unauthenticated or PermissionDenied


@asynccontextmanager
async def serving(
    listener: socket.socket,
    registry: CollectorRegistry,
    ready: Callable[[], Awaitable[bool]],
    max_blocked_seconds: float,
    may_read_metrics: Check = lambda _: None,
    watch_ready: Callable[[Callable[[], bool]], None] = lambda _: None,
) -> AsyncIterator[None]:
    """Answer on `listener`, which is closed in the end, about the event loop that runs this.

    `ready` is asked on this loop, and must answer at once. /livez is 503 when the loop has been blocked for more
    than `max_blocked_seconds`. `may_read_metrics` is called in the other thread. `watch_ready` is given what says
    whether /readyz would be 200.
    """
    pulse, metrics = _Pulse(max_blocked_seconds), _Metrics(registry, may_read_metrics)
    watch_ready(pulse.ready)
    beating = asyncio.create_task(pulse.beat(ready))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_serve(listener, metrics, pulse, stop))

    thread = threading.Thread(target=run, name="operations", daemon=True)
    thread.start()
    try:
        yield
    finally:
        beating.cancel()
        loop.call_soon_threadsafe(stop.set)
        thread.join(1.0)


class _Pulse:
    """Whether the main event loop lives: it beats, and the other thread counts the time since it did.

    That thread counts only time in which it ran itself. A process that was stopped as a whole, or held up by
    Python's lock, is not taken for blocked when it goes on.
    """

    def __init__(self, max_blocked_seconds: float) -> None:
        self._max_blocked_seconds = max_blocked_seconds
        self._beats = 0
        self._ready = False
        self._blocked_seconds = 0.0

    async def beat(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """On the main event loop, until cancelled."""
        while True:
            self._ready = await ready()
            self._beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def watch(self) -> None:
        """On the other, until cancelled."""
        while True:
            seen = self._beats
            await asyncio.sleep(_BEAT_SECONDS)
            self._blocked_seconds = 0.0 if self._beats != seen else self._blocked_seconds + _BEAT_SECONDS

    def livez(self) -> Answer:
        seconds, limit = self._blocked_seconds, self._max_blocked_seconds
        if seconds <= limit:
            return HTTPStatus.OK, _JSON, orjson.dumps({"status": "alive"})
        detail = f"the event loop has been blocked for {seconds:.1f} s; CLIPSERVE_MAX_BLOCKED_SECONDS is {limit:g}."
        return _problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "event_loop_blocked", detail, limit=limit, actual=seconds
        )

    def ready(self) -> bool:
        return self._ready and self._blocked_seconds < _READY_SECONDS

    def readyz(self) -> Answer:
        if self.ready():
            return HTTPStatus.OK, _JSON, orjson.dumps({"status": "ready"})
        return HTTPStatus.SERVICE_UNAVAILABLE, _JSON, orjson.dumps({"status": "not ready"})


class _Metrics:
    """/metrics, for those who may read them."""

    def __init__(self, registry: CollectorRegistry, may_read: Check) -> None:
        self._registry = registry
        self._may_read = may_read

    def answer(self, headers: dict[bytes, bytes]) -> Answer:
        authorization = headers.get(b"authorization")
        try:
            self._may_read(authorization.decode("latin-1") if authorization else None)
        except Unauthenticated as error:
            return _problem(HTTPStatus.UNAUTHORIZED, error.code, error.detail)
        except PermissionDenied as error:
            return _problem(HTTPStatus.FORBIDDEN, error.code, error.detail)
        encode, media_type = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        return HTTPStatus.OK, media_type, encode(self._registry)


async def _serve(listener: socket.socket, metrics: _Metrics, pulse: _Pulse, stop: asyncio.Event) -> None:
    watching = asyncio.create_task(pulse.watch())
    connections: dict[_Connection, None] = {}  # oldest first
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(connections, metrics, pulse), sock=listener
    )
    await stop.wait()
    server.close()
    watching.cancel()
    for connection in [*connections]:
        connection.close()


class _Connection(asyncio.Protocol):
    """One request and its answer, within the time of a connection."""

    def __init__(self, connections: dict[_Connection, None], metrics: _Metrics, pulse: _Pulse) -> None:
        self._connections = connections
        self._metrics = metrics
        self._pulse = pulse
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._answered = self._head = False

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
            self._answer(_problem(HTTPStatus(error.error_status_hint), "bad_request", f"{error}."))
            return
        if isinstance(event, h11.Request):
            self._head = event.method == b"HEAD"
            self._answer(self._answer_to(event))

    def _answer_to(self, request: h11.Request) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return _problem(
                HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD are answered here."
            )
        match request.target.partition(b"?")[0]:
            case b"/livez":
                return self._pulse.livez()
            case b"/readyz":
                return self._pulse.readyz()
            case b"/metrics":
                return self._metrics.answer(dict(request.headers))
        return _problem(HTTPStatus.NOT_FOUND, "not_found", "there is /livez, /readyz and /metrics here.")

    def _answer(self, answer: Answer) -> None:
        """Send it, and wait for the client to close: to close first could tear the answer away from it."""
        self._answered = True
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


def _problem(status: HTTPStatus, code: str, detail: str, **numbers: float) -> Answer:
    body = {
        "type": f"urn:clipserve:error:{code}",
        "title": status.phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return status, _PROBLEM, orjson.dumps(body | numbers)

"""The ASGI application around all routes: one request and its answer.

It gives the request its id and its deadline, checks its key, reads the body, runs the route, and turns any error
into the answer. Errors of whole requests are rendered only here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from clipserve.access.gate import Gate
from clipserve.access.hosts import ANY, Hosts
from clipserve.application.shared import record
from clipserve.connections import address_of
from clipserve.errors import BackendUnavailable, DeadlineExceeded
from clipserve.quota import Quota
from clipserve.rest.body import BodyLimits, ClientGone, announced_size, read_body
from clipserve.rest.errors import Render, rendered
from clipserve.rest.paths import FoundRoute, Paths, Streaming
from clipserve.rest.protocol import LEFT
from clipserve.rest.request import Request
from clipserve.telemetry import tracing
from clipserve.telemetry.metrics import CLIENT_GONE, Metrics
from clipserve.telemetry.request import RequestContext, enter, request_id

_SMALL = 65_536  # bytes of an answer: 32 MB for 512 connections
_QUIET = frozenset({"/livez", "/readyz", "/ping", "/.well-known/live", "/.well-known/ready"})
# Routes that need no key: probes, and pages that hold no secret.
_DOCS = frozenset({"/docs", "/docs/start.js", "/docs/{version}/{name}", "/openapi.json"})
_OPEN = _QUIET | _DOCS | {"/", "/page/{name}"}
# Methods that change the service need a key with this scope.
_MANAGING = frozenset({("PUT", "/label-sets/{name}"), ("DELETE", "/label-sets/{name}")})


_ENDING = BackendUnavailable("the service ends, and has no more time for this request. Send it again.")


@dataclass(frozen=True)
class ExchangeLimits:
    """`deadline_seconds`: from the last byte of the body to the answer."""

    body: BodyLimits
    deadline_seconds: float


class _Answer:
    """Passes an answer on, with the request's id and stage times.

    Attributes:
        status: of the answer, once its head is passed on.
        body_pending: part of the request's body may still be on its way, so that the connection must be closed.
    """

    def __init__(self, send: Send, request: RequestContext) -> None:
        self._send = send
        self._request = request
        self.status: int | None = None
        self.body_pending = True

    async def __call__(self, message: Message) -> None:
        """A part of it, which is passed on at once."""
        if message["type"] == "http.response.start":
            message = self._start(message["status"], message["headers"])
        await self._send(message)

    async def whole(self, response: Response) -> None:
        """All of it, until the client has taken it."""
        await self._send(self._start(response.status_code, response.raw_headers))
        await self._send({"type": "http.response.body", "body": response.body})

    def _start(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> Message:
        self.status = status
        headers = [*given, (b"x-request-id", self._request.id.encode())]
        if timing := self._request.server_timing:
            headers.append((b"server-timing", timing.encode()))
        if self.body_pending:
            headers.append((b"connection", b"close"))
        return {"type": "http.response.start", "status": status, "headers": headers}


class Exchange:
    """Answers requests; see the module."""

    def __init__(
        self,
        paths: Paths,
        limits: ExchangeLimits,
        budget: Quota,
        metrics: Metrics,
        gate: Gate,
        render_for: Callable[[str], Render | None] = lambda _: None,
        hosts: Hosts = ANY,
    ) -> None:
        """Make the application.

        Args:
            render_for: path -> the function that renders its errors; None: as problem+json.
            hosts: the accepted values of the header Host.
        """
        self._paths = paths
        self._limits = limits
        self._budget = budget
        self._metrics = metrics
        self._render_for = render_for
        self._hosts = hosts
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        found = self._paths.find(scope["path"])
        given = headers.get(b"x-request-id")
        request = RequestContext(
            request_id(given.decode("latin-1") if given else None),
            address=address_of(scope["client"][0]),
            span=tracing.begin(headers.get(b"traceparent")),
        )
        enter(request)
        asked = Request(request.id, scope["method"], headers, scope["query_string"], found.names)
        answer = _Answer(send, request)
        try:
            await self._run(found, asked, receive, answer, request)
            outcome = str(answer.status)
        except ClientGone:
            outcome = CLIENT_GONE
        except asyncio.CancelledError as cancelled:
            outcome = CLIENT_GONE
            if cancelled.args != (LEFT,):  # the drain has ended
                outcome, response = rendered(_ENDING, request.id, self._render_for(scope["path"]))
                if answer.status is None:
                    await answer.whole(response)
        except Exception as error:  # any error of a route; `rendered` distinguishes them
            outcome, response = rendered(error, request.id, self._render_for(scope["path"]))
            error.__traceback__ = None  # `clears_frame` says why
            if answer.status is None:
                await answer.whole(response)
        endpoint = found.template or "other"
        record(self._metrics, request, endpoint, outcome, quiet=endpoint in _QUIET)

    async def _run(
        self,
        found: FoundRoute,
        asked: Request,
        receive: Receive,
        answer: _Answer,
        request: RequestContext,
    ) -> None:
        seconds = self._limits.deadline_seconds
        with self._budget.lease(request.address) as lease:
            await self._enter(found, asked)
            if isinstance(stream := found.endpoints.get(asked.method), Streaming):
                request.bulk = True
                await stream(asked, receive, answer, lease)
                return
            announced = announced_size(asked.headers, self._limits.body)
            if announced:
                await self._gate.charge(size=announced)
            body = await read_body(asked.headers, receive, self._limits.body, lease)
            answer.body_pending = False
            if len(body) > announced:
                await self._gate.charge(size=len(body) - announced)
            request.deadline = time.monotonic() + seconds
            try:
                async with asyncio.timeout(seconds) as timer:
                    response = await found.answer(asked, body)
            except TimeoutError:
                if not timer.expired():
                    raise
                raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds) from None
            if len(response.body) > _SMALL:
                lease.grow(len(response.body))
            await answer.whole(response)

    async def _enter(self, found: FoundRoute, asked: Request) -> None:
        self._hosts.check(asked.headers.get(b"host"))
        if found.template not in _OPEN:
            authorization = asked.headers.get(b"authorization")
            await self._gate.enter(
                authorization.decode("latin-1") if authorization else None,
                "manage" if (asked.method, found.template) in _MANAGING else "use",
            )

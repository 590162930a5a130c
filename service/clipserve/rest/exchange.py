"""The ASGI middleware around all routes: one request and its answer.

It gives the request its id and its deadline, checks its key, and reads the body with its limits, before FastAPI
looks for a route. It counts and logs the answer, and renders errors that FastAPI's exception handlers do not see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipserve.access.gate import when_there_is_room
from clipserve.access.hosts import ANY, Hosts
from clipserve.application.body import Body
from clipserve.application.shared import Shared, record
from clipserve.connections import address_of
from clipserve.errors import BackendUnavailable, DeadlineExceeded, MalformedRequest
from clipserve.quota import Lease
from clipserve.rest.body import BodyLimits, ClientGone, announced_size, read_body
from clipserve.rest.errors import Render, rendered
from clipserve.rest.protocol import LEFT
from clipserve.telemetry import tracing
from clipserve.telemetry.metrics import CLIENT_GONE
from clipserve.telemetry.request import RequestContext, enter, request_id

_SMALL = 65_536  # bytes of an answer: 32 MB for 512 connections
_ONCE = (b"authorization", b"host", b"transfer-encoding")  # a proxy may have read the other one
PROBES = frozenset({"/livez", "/readyz", "/ping", "/.well-known/live", "/.well-known/ready"})
# Paths that need no key: probes, and pages that hold no secret.
_OPEN = PROBES | {"/docs", "/openapi.json", "/"}
_OPEN_FOLDERS = ("/docs/", "/page/")
_ENDING = BackendUnavailable("the service ends, and has no more time for this request. Send it again.")
_BULK_PATIENCE = 60  # deadlines of a bulk request, which waits for all others


class _Answer:
    """Passes an answer on, with the request's id and stage times."""

    def __init__(self, send: Send, request: RequestContext, lease: Lease) -> None:
        self._send, self.request, self.lease = send, request, lease
        self.status: int | None = None  # once its head is passed on
        self.body_pending = True  # part of it may be on its way, so that the connection must be closed
        self.timer: asyncio.Timeout | None = None  # of the deadline, which ends as the answer begins

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"x-request-id", self.request.id.encode())]
            size = next((int(value) for name, value in headers if name == b"content-length"), 0)
            if size > _SMALL:
                self.lease.add(size)  # until the client has taken it
            self.status = message["status"]
            if self.timer:
                self.timer.reschedule(None)
            if timing := self.request.server_timing:
                headers.append((b"server-timing", timing.encode()))
            if self.body_pending:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


class Exchange:
    """Answers requests; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        shared: Shared,
        limits: BodyLimits,
        render_for: Callable[[str], Render | None] = lambda _: None,
        hosts: Hosts = ANY,
    ) -> None:
        """`render_for`: path -> renders its errors; None: as problem+json. `hosts`: the accepted values of Host."""
        self._app, self._shared, self._limits = app, shared, limits
        self._render_for, self._hosts = render_for, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request = RequestContext(
            request_id(headers.get(b"x-request-id", b"").decode("latin-1")),
            address=address_of(scope["client"][0]),
            span=tracing.begin(headers.get(b"traceparent")),
        )
        enter(request)
        head = scope["method"] == "HEAD"
        if head:  # a GET, whose body the server leaves out: it looks into its own scope
            scope = {**scope, "method": "GET"}
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        scope["state"] = {"id": request.id, "headers": headers, "path": path}
        with self._shared.budget.lease(request.address) as lease:
            answer = _Answer(send, request, lease)
            try:
                await self._run(scope, receive, answer)
                outcome = scope["state"].get("outcome") or str(answer.status)
            except ClientGone:
                outcome = CLIENT_GONE
            except asyncio.CancelledError as cancelled:
                outcome = CLIENT_GONE
                if cancelled.args != (LEFT,):  # the drain has ended
                    outcome = await self._fail(_ENDING, scope, receive, answer)
                elif head and answer.status:  # it had all of the answer
                    outcome = str(answer.status)
            except Exception as error:  # of this middleware, or what no exception handler knows
                outcome = await self._fail(error, scope, receive, answer)
        endpoint = _endpoint(scope)
        record(self._shared.metrics, request, endpoint, outcome, quiet=endpoint in PROBES)

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, answer: _Answer) -> str:
        """Answer with the error, unless an answer has begun. Its word in metrics."""
        outcome, response = rendered(error, scope["state"]["id"], self._render_for(scope["state"]["path"]))
        error.__traceback__ = None  # its frames hold the body, and the tasks that hold it
        if answer.status is None:
            await response(scope, receive, answer)
        return outcome

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        request, headers = answer.request, scope["state"]["headers"]
        request.bulk = headers.get(b"x-priority") == b"bulk" and scope["state"]["path"] == "/embed"
        await self._enter(scope, headers)
        with self._shared.bulk.lease(request.caller, 1) if request.bulk else nullcontext():
            body = await self._read(headers, receive, answer)
            if not body and scope["state"]["path"] not in PROBES:
                answer.lease.grow(1)  # who does not take large answers is given no more of them
            answer.body_pending = False
            scope["state"]["body"] = body
            seconds = self._limits.deadline_seconds * (_BULK_PATIENCE if request.bulk else 1)
            request.deadline = time.monotonic() + seconds
            try:
                async with asyncio.timeout(seconds) as timer:
                    answer.timer = timer
                    await self._app(scope, receive, answer)
            except TimeoutError:
                if not timer.expired():
                    raise
                raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds) from None
            finally:
                answer.timer = None

    async def _enter(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Check the headers, the host, and the key for all but probes and pages."""
        _check_headers(scope, headers)
        self._hosts.check(headers.get(b"host"))
        path: str = scope["state"]["path"]
        if path not in _OPEN and not path.startswith(_OPEN_FOLDERS):
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            manages = scope["method"] in ("PUT", "DELETE") and path.startswith("/label-sets/")
            await self._shared.gate.enter(authorization, "manage" if manages else "use")

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, answer: _Answer) -> Body:
        """The body, whose bytes are charged: those that are announced before they are read."""
        announced = announced_size(headers, self._limits)
        await self._charge(answer.request, announced)
        body = await read_body(headers, receive, self._limits, answer.lease)
        await self._charge(answer.request, len(body) - announced)
        return body

    async def _charge(self, request: RequestContext, size: int) -> None:
        if size:
            charge = partial(self._shared.gate.charge, size=size)
            await (when_there_is_room(charge) if request.bulk else charge())


def _check_headers(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Raise MalformedRequest for headers that a proxy in front may have understood otherwise."""
    if len(headers) < len(scope["headers"]):
        names = [name for name, _ in scope["headers"]]
        if twice := [name.decode().title() for name in _ONCE if names.count(name) > 1]:
            raise MalformedRequest(f"there are several {twice[0]} headers; send one.")
    if b"host" not in headers and scope["http_version"] != "1.0":
        raise MalformedRequest("the request has no Host header; send one.")
    if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise MalformedRequest("Transfer-Encoding must be chunked.")


def _endpoint(scope: Scope) -> str:
    """The path of the route, such as /label-sets/{name}, for metrics and the log."""
    if "route" in scope:
        return str(scope["route"].path)
    path = scope["state"]["path"]
    routes = iter_route_contexts(scope["app"].routes) if "app" in scope else ()  # it was refused before
    return next((str(each.path) for each in routes if each.path_regex.fullmatch(path)), "other")

"""The line between a client and its request: what it may send, how long it may take, and when it has let go.

An ASGI middleware around the whole front. It reads the body before the application sees the request, because
everything here needs the whole body, and so that its size and its time can be bounded in one place. Then it runs
the application until one of three happens: an answer, the deadline, or the client's departure, which cancels the
work all the way down. (Starlette and FastAPI let a handler run on after its client has left.)
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooSlow, ClipError, DeadlineExceeded, InvalidInput, Overloaded, TooMany
from service.rest.errors import UNEXPECTED, problem
from service.telemetry.deadline import set_deadline
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics, stage_times

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/livez", "/readyz"})


@dataclass(frozen=True)
class LifelineLimits:
    """Bytes and seconds; see the settings of the same names."""

    max_body_bytes: int
    max_in_flight_bytes: int
    body_timeout_seconds: float
    deadline_seconds: float


class ClientGone(Exception):
    """The client closed its connection; there is nobody to answer."""


class _Answer:
    """Passes an answer on, with the request's id and stage times; remembers its status."""

    def __init__(self, send: Send, request_id: str, times: dict[str, float]) -> None:
        self._send = send
        self._request_id = request_id
        self._times = times
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            timing = ", ".join(f"{stage};dur={s * 1000:.1f}" for stage, s in self._times.items())
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self._request_id.encode()),
                *([(b"server-timing", timing.encode())] if timing else []),
            ]
        await self._send(message)


class Lifeline:
    """See the module."""

    def __init__(self, app: ASGIApp, limits: LifelineLimits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._bytes = 0  # bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {key.lower(): value for key, value in scope["headers"]}
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        times: dict[str, float] = {}
        stage_times.set(times)
        answer = _Answer(send, request_id, times)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            outcome = await self._outcome(scope, headers, receive, answer)
            self._record(scope, outcome, time.perf_counter() - started)

    async def _outcome(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: _Answer
    ) -> str:
        chunks: list[bytes] = []
        try:
            await self._read(headers, receive, chunks)
            chunks[:] = [b"".join(chunks)]  # not both: a body is in memory once
            await self._run(scope, chunks[0], receive, answer)
        except ClientGone:
            return "client_gone"
        except ClipError as error:
            await self._refuse(error, scope, receive, answer)
            return error.code
        except Exception as error:  # a fault of ours: the caller gets the request id, the log the traceback
            logger.exception("unexpected")
            error.__traceback__ = None  # `service.concurrency` says why
            await self._refuse(UNEXPECTED, scope, receive, answer)
            return UNEXPECTED.code
        finally:
            self._bytes -= sum(map(len, chunks))
        return str(scope["state"].get("error_code", answer.status))

    async def _refuse(self, error: ClipError, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if answer.status is None:
            response = problem(error, scope["state"]["request_id"])
            response.headers["connection"] = "close"  # part of the body may still be on its way
            await response(scope, receive, answer)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, chunks: list[bytes]) -> None:
        """Append the body to `chunks`; the caller gives their bytes back to the common budget."""
        announced = headers.get(b"content-length", b"")
        if announced.isdigit():
            self._check_size(int(announced))
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise InvalidInput("Content-Encoding is not accepted: send the body as it is.")
        size, seconds = 0, self._limits.body_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self._check_size(size)
                    self._claim(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            raise BodyTooSlow(f"the body did not arrive within {seconds:g} s.", limit=seconds) from None

    def _check_size(self, size: int) -> None:
        limit = self._limits.max_body_bytes
        if size > limit:
            raise TooMany(
                f"the body has {size:,} bytes or more; the limit is {limit:,}.", limit=limit, actual=size
            )

    def _claim(self, size: int) -> None:
        if self._bytes + size > self._limits.max_in_flight_bytes:
            raise Overloaded(
                "the bodies of other requests fill the memory set aside for them.", retry_after=1
            )
        self._bytes += size

    async def _run(self, scope: Scope, body: bytes, receive: Receive, answer: _Answer) -> None:
        set_deadline(self._limits.deadline_seconds)
        gone = asyncio.create_task(_disconnect(receive))
        unread = [body]

        async def replay() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await asyncio.shield(gone)

        async def call() -> None:
            await self._app(scope, replay, answer)

        work = asyncio.create_task(call())
        try:
            done, _ = await asyncio.wait(
                {work, gone}, timeout=self._limits.deadline_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if work in done:
                work.result()
            elif gone in done:
                raise ClientGone
            else:
                seconds = self._limits.deadline_seconds
                raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            del work  # `service.concurrency` says why

    def _record(self, scope: Scope, outcome: str, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", "other")
        self._metrics.request(endpoint, outcome, seconds)
        if endpoint not in _QUIET:
            logger.info("request", endpoint=endpoint, outcome=outcome, ms=round(seconds * 1000, 1))


async def _disconnect(receive: Receive) -> Message:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's X-Request-Id where it is a plain word, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

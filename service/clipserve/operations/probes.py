"""The operations port of one process: probes and metrics, from a thread with a small event loop of its own.

It answers when the main event loop cannot, and so can say that this one is blocked: `clipserve.operations.pulse`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from clipserve.access.hosts import ANY, Hosts
from clipserve.errors import PermissionDenied, Unauthenticated
from clipserve.operations.port import JSON, Answer, problem, serve_port
from clipserve.operations.pulse import Pulse, beside

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
    hosts: Hosts = ANY,
) -> AsyncIterator[None]:
    """Answer on `listener`, which is closed in the end, about the event loop that runs this.

    `ready` is asked on this loop, and must answer at once. /livez is 503 when the loop has been blocked for more
    than `max_blocked_seconds`. `may_read_metrics` is called in the other thread. `watch_ready` is given what says
    whether /readyz would be 200. `hosts`: whom requests may be for.
    """
    pulse = Pulse()
    watch_ready(lambda: pulse.ready)
    page = _Page(pulse, registry, max_blocked_seconds, may_read_metrics)
    async with beside(pulse, ready, functools.partial(serve_port, listener, page, hosts)):
        yield


class _Page:
    """What is known of this process."""

    def __init__(
        self, pulse: Pulse, registry: CollectorRegistry, max_blocked_seconds: float, may_read: Check
    ) -> None:
        self._pulse = pulse
        self._registry = registry
        self._max_blocked_seconds = max_blocked_seconds
        self._may_read = may_read

    def livez(self) -> Answer:
        seconds, limit = self._pulse.blocked_seconds, self._max_blocked_seconds
        if seconds <= limit:
            return HTTPStatus.OK, JSON, orjson.dumps({"status": "alive"})
        detail = f"the event loop has been blocked for {seconds:.1f} s; CLIPSERVE_MAX_BLOCKED_SECONDS is {limit:g}."
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "event_loop_blocked", detail, limit=limit, actual=seconds
        )

    def readyz(self) -> Answer:
        return readiness(ready=self._pulse.ready)

    async def metrics(self, headers: Mapping[bytes, bytes]) -> Answer:
        return refusal(self._may_read, headers) or rendered(self._registry, headers)


def readiness(*, ready: bool) -> Answer:
    """The answer of /readyz."""
    if ready:
        return HTTPStatus.OK, JSON, orjson.dumps({"status": "ready"})
    return HTTPStatus.SERVICE_UNAVAILABLE, JSON, orjson.dumps({"status": "not ready"})


def refusal(may_read: Check, headers: Mapping[bytes, bytes]) -> Answer | None:
    """The answer to who may not read the metrics; None: they may."""
    authorization = headers.get(b"authorization")
    try:
        may_read(authorization.decode("latin-1") if authorization else None)
    except Unauthenticated as error:
        return problem(HTTPStatus.UNAUTHORIZED, error.code, error.detail)
    except PermissionDenied as error:
        return problem(HTTPStatus.FORBIDDEN, error.code, error.detail)
    return None


def rendered(registry: CollectorRegistry, headers: Mapping[bytes, bytes]) -> Answer:
    """The metrics, in the format that was asked for; one that cannot be understood is asking for none."""
    try:
        encode, media_type = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
    except (TypeError, ValueError):
        encode, media_type = choose_encoder("")
    return HTTPStatus.OK, media_type, encode(registry)

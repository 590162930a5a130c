"""The ASGI application of the operations port: /livez, /readyz and /metrics, in the thread of that port."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from clipserve.access.hosts import ANY, Hosts
from clipserve.access.keys import Keys
from clipserve.rest.errors import rendered

MAX_BLOCKED_SECONDS = 10.0  # without a beat for so long, the service is not alive
_READY_SECONDS = 2.0  # without a beat for so long, the service is not ready
_BEAT_SECONDS = 0.25


class Pulse:
    """The event loop of the service beats, and that of the port counts the time since the last beat.

    The second counts only time in which it ran itself. So a process that was stopped as a whole, or that waited for
    Python's lock, does not count as blocked when it continues.
    """

    def __init__(self) -> None:
        self.blocked_seconds = 0.0
        self._beats, self._ready = 0, False

    @property
    def ready(self) -> bool:
        """Whether the service was ready at its last beat, and that was recent."""
        return self._ready and self.blocked_seconds < _READY_SECONDS

    async def beat(self, ready: Callable[[], Awaitable[bool]]) -> None:
        while True:
            self._ready = await ready()
            self._beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def watch(self) -> None:
        while True:
            seen = self._beats
            await asyncio.sleep(_BEAT_SECONDS)
            self.blocked_seconds = 0.0 if self._beats != seen else self.blocked_seconds + _BEAT_SECONDS


@dataclass(frozen=True)
class Page:
    """`keys`: those that may read the metrics; None: everybody may. `hosts`: checks the header Host."""

    pulse: Pulse
    registry: CollectorRegistry
    keys: Keys | None = None
    hosts: Hosts = ANY
    max_blocked_seconds: float = MAX_BLOCKED_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = self._answer(scope, dict(scope["headers"]))
        except Exception as error:  # a refusal, a bug of ours, or one of the library that writes the metrics
            _, response = rendered(error, uuid.uuid4().hex)
        await response(scope, receive, send)

    def _answer(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response:
        self.hosts.check(headers.get(b"host"))
        if scope["method"] not in ("GET", "HEAD"):
            return JSONResponse({"status": "only GET and HEAD"}, 405, {"allow": "GET, HEAD"})
        blocked, most, ready = self.pulse.blocked_seconds, self.max_blocked_seconds, self.pulse.ready
        match scope["path"]:
            case "/livez" if blocked > most:
                return JSONResponse({"status": "blocked", "seconds": blocked, "limit": most}, 503)
            case "/livez":
                return JSONResponse({"status": "alive"})
            case "/readyz":
                return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)
            case "/metrics":
                return self._metrics({name: value.decode("latin-1") for name, value in headers.items()})
        return JSONResponse({"status": "not found", "paths": ["/livez", "/readyz", "/metrics"]}, 404)

    def _metrics(self, headers: Mapping[bytes, str]) -> Response:
        if self.keys is not None:
            self.keys.check(headers.get(b"authorization"), "manage")
        try:
            encode, media_type = choose_encoder(headers.get(b"accept", ""))
        except (TypeError, ValueError):  # a malformed `Accept` counts as none
            encode, media_type = choose_encoder("")
        return Response(encode(self.registry), media_type=media_type)

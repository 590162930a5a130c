"""The ASGI application of the operations port."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clipserve.access.hosts import ANY, Hosts
from clipserve.access.keys import Keys
from clipserve.operations.pulse import MAX_BLOCKED_SECONDS, Pulse
from clipserve.rest.errors import rendered

_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Page:
    """Answers /livez, /readyz and /metrics, in the thread of the operations port.

    `keys`: those that may read the metrics; None: everybody may. `hosts`: checks the
    header Host. `max_blocked_seconds`: /livez is 503 if the service's event loop is blocked for longer.
    """

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
            allow = {"allow": "GET, HEAD"}
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here.", allow)
        match scope["path"]:
            case "/livez":
                return self._livez()
            case "/readyz":
                return self._readyz()
            case "/metrics":
                return self._metrics(headers)
        raise HTTPException(
            HTTPStatus.NOT_FOUND, "This is the operations port: it has /livez, /readyz and /metrics."
        )

    def _livez(self) -> Response:
        seconds, limit = self.pulse.blocked_seconds, self.max_blocked_seconds
        if seconds <= limit:
            return _json(HTTPStatus.OK, {"status": "alive"})
        status = HTTPStatus.SERVICE_UNAVAILABLE
        problem = {
            "type": "urn:clipserve:error:event_loop_blocked",
            "title": status.phrase,
            "status": status,
            "code": "event_loop_blocked",
            "detail": f"the event loop has been blocked for {seconds:.1f} s; the limit is {limit:g}.",
            "limit": limit,
            "actual": seconds,
            "request_id": uuid.uuid4().hex,
        }
        return _json(status, problem, _PROBLEM)

    def _readyz(self) -> Response:
        if self.pulse.ready:
            return _json(HTTPStatus.OK, {"status": "ready"})
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "not ready"})

    def _metrics(self, headers: Mapping[bytes, bytes]) -> Response:
        """The metrics in the requested format. A malformed `Accept` counts as none."""
        authorization = headers.get(b"authorization")
        if self.keys is not None:
            self.keys.check(authorization.decode("latin-1") if authorization else None, "manage")
        try:
            encode, media_type = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        except (TypeError, ValueError):
            encode, media_type = choose_encoder("")
        return Response(encode(self.registry), media_type=media_type)


def _json(status: HTTPStatus, said: Mapping[str, Any], media_type: str = "application/json") -> Response:
    return Response(orjson.dumps(said), status, media_type=media_type)

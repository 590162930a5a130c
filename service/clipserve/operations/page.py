"""The ASGI application of the operations port: /livez, /readyz and /metrics."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Page:
    """Answers in the thread of the operations port.

    `keys`: those that may read the metrics; None: everybody may. `hosts`: checks the header Host. `lost_seconds`:
    for how long a GPU has been lost. /livez says so and stays 200: the process ends by itself, with its own status.
    """

    pulse: Pulse
    registry: CollectorRegistry
    keys: Keys | None = None
    hosts: Hosts = ANY
    max_blocked_seconds: float = MAX_BLOCKED_SECONDS
    lost_seconds: Callable[[], float] = float

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
                return _json({"status": "ready"}) if self.pulse.ready else _json({"status": "not ready"}, 503)
            case "/metrics":
                return self._metrics(headers)
        said = "This is the operations port: it has /livez, /readyz and /metrics."
        raise HTTPException(HTTPStatus.NOT_FOUND, said)

    def _livez(self) -> Response:
        seconds, limit = self.pulse.blocked_seconds, self.max_blocked_seconds
        if seconds <= limit:
            lost = self.lost_seconds()
            return _json({"status": "alive"} | ({"gpu_lost_seconds": lost} if lost else {}))
        problem = {
            "type": "urn:clipserve:error:event_loop_blocked",
            "title": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
            "status": 503,
            "code": "event_loop_blocked",
            "detail": f"the event loop has been blocked for {seconds:.1f} s; the limit is {limit:g}.",
            "limit": limit,
            "actual": seconds,
            "request_id": uuid.uuid4().hex,
        }
        return _json(problem, 503, "application/problem+json")

    def _metrics(self, headers: Mapping[bytes, bytes]) -> Response:
        if self.keys is not None:
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            self.keys.check(authorization or None, "manage")
        try:
            encode, media_type = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        except (TypeError, ValueError):  # a malformed `Accept` counts as none
            encode, media_type = choose_encoder("")
        return Response(encode(self.registry), media_type=media_type)


def _json(said: Mapping[str, Any], status: int = 200, media_type: str = "application/json") -> Response:
    return Response(orjson.dumps(said), status, media_type=media_type)

"""The HTTP server of the REST front."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp


@dataclass(frozen=True)
class ServerOptions:
    """Where to listen and how much to hold open; see the settings of the same names."""

    host: str
    port: int
    max_connections: int
    drain_seconds: int


def build_server(app: ASGIApp, options: ServerOptions) -> uvicorn.Server:
    """`serve()` runs it until `should_exit` is set, then lets requests in flight end."""
    return _Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=options.max_connections,
            timeout_graceful_shutdown=options.drain_seconds,
        )
    )


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it: uvicorn's own handling ends the process by the signal, not with 0."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

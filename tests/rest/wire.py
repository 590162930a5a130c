"""The protocol of connections without a network."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipserve.connections import ConnectionLimits
from clipserve.rest.protocol import Connections, Protocol
from clipserve.telemetry.metrics import Metrics


class Line(asyncio.Transport):
    """A transport that keeps what is written. `untaken`: bytes of it that the client has not taken."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.2", 2), "sockname": ("127.0.0.1", 1)})
        self.written = b""
        self.untaken = 0
        self.reading = True
        self.ended = self.closing = self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.untaken

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


@dataclass
class Echo:
    """An application that answers each request with its body, and keeps what it was asked."""

    asked: list[tuple[Scope, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, message = b"", cast(Message, {"more_body": True})
        with suppress(asyncio.CancelledError):
            while message.get("more_body"):
                message = await receive()
                body += message.get("body", b"")
            self.asked.append((scope, body))
            length = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": body})


METRICS = Metrics()


def protocol_of(app: ASGIApp, limits: ConnectionLimits) -> Protocol:
    """A protocol that is connected to a `Line`."""
    config = uvicorn.Config(app, interface="asgi3", log_config=None, lifespan="off", proxy_headers=False)
    protocol = Protocol(config, Connections(limits, METRICS), {})
    protocol.connection_made(Line())
    return protocol


async def fed(protocol: Protocol, *pieces: bytes) -> Line:
    """Let these pieces arrive, each when the one before is worked on."""
    line = protocol.transport
    assert isinstance(line, Line)
    for piece in pieces:
        protocol.data_received(piece)
        for _ in range(4):
            await asyncio.sleep(0)
    return line

"""One call: who makes it, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from urllib.parse import unquote

from grpc.aio import ServicerContext as Context

from service.application.byte_budget import address_of
from service.rpc.errors import Failure, failure_of
from service.telemetry.request import RequestContext, request_id


class Call:
    """What the exchange knows of a call.

    Attributes:
        request: its id, and what the work for it is counted in.
        authorization: the metadata of that name.
        connection: the address and the port of the caller.
        address: whose the connection is.
        outcome: a word for metrics and logs.
        task: what gRPC runs the call in, until its client has taken the answer or left.
        expiry: ends the call if the answer is not taken.
    """

    def __init__(self, method: str, context: Context) -> None:
        self.endpoint = f"grpc {method}"
        self.started = time.perf_counter()
        self.context = context
        metadata = dict(context.invocation_metadata() or ())
        self.request = RequestContext(request_id(_text(metadata.get("x-request-id"))))
        self.authorization = _text(metadata.get("authorization"))
        self.connection = context.peer()
        self.address = address_of(_host(self.connection))
        self.outcome = "OK"
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.expiry: asyncio.TimerHandle | None = None
        self._failure: Failure | None = None

    def seconds(self, most: float) -> float:
        """The time that is left: what the caller gives it, and no more than `most`."""
        remaining = self.context.time_remaining()
        return most if remaining is None else min(most, remaining)

    def failed(self, error: Exception) -> None:
        """The answer is this error."""
        self._failure = failure_of(error, self.request.id)
        self.outcome = self._failure.word
        error.__traceback__ = None  # `service.concurrency` says why

    def cancelled(self) -> None:
        """There is nobody to answer: the caller has left, or its deadline is over."""
        self.outcome = "deadline_exceeded" if self.context.time_remaining() == 0 else "client_gone"

    def answer(self) -> None:
        """Give the status to gRPC, which sends it when the method returns.

        Not `abort`: its error would hold the frames that it came through, and these the call.
        """
        self.context.set_trailing_metadata(tuple(self._trailing()))
        if self._failure:
            self.context.set_code(self._failure.code)
            self.context.set_details(self._failure.message)

    def _trailing(self) -> Iterator[tuple[str, str | bytes]]:
        yield "x-request-id", self.request.id
        if timing := self.request.server_timing:
            yield "server-timing", timing
        if self._failure:
            yield "grpc-status-details-bin", self._failure.details


def _text(value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) else None


def _host(peer: str) -> str:
    """Of what gRPC calls a peer: ipv4:127.0.0.1:1234, ipv6:%5B::1%5D:1234."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")

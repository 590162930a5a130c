"""One call: who makes it, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any
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

    def answer(self) -> Coroutine[Any, Any, None] | None:
        """Give gRPC the metadata, which it sends when the method returns; of a call that failed, what to await."""
        metadata: list[tuple[str, str | bytes]] = [("x-request-id", self.request.id)]
        if timing := self.request.server_timing:
            metadata.append(("server-timing", timing))
        failure = self._failure
        if not failure:
            self.context.set_trailing_metadata(tuple(metadata))
            return None
        metadata.append(("grpc-status-details-bin", failure.details))
        aborting: Coroutine[Any, Any, None] = self.context.abort(
            failure.code, failure.message, tuple(metadata)
        )
        return aborting


def _text(value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) else None


def _host(peer: str) -> str:
    """Of what gRPC calls a peer: ipv4:127.0.0.1:1234, ipv6:%5B::1%5D:1234."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")

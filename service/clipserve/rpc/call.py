"""One call: its metadata, its deadline and its outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

from grpc.aio import InternalError
from grpc.aio import ServicerContext as Context

from clipserve.application.body import Body
from clipserve.connections import address_of
from clipserve.errors import ClipError, DeadlineExceeded, MalformedRequest
from clipserve.rpc.dropping import drop
from clipserve.rpc.errors import Failure, failure_of
from clipserve.rpc.options import CallLimits
from clipserve.telemetry.metrics import CLIENT_GONE
from clipserve.telemetry.request import RequestContext, request_id

Work = Callable[[Body], Coroutine[Any, Any, bytes]]  # message -> bytes of the answer

_UNTIL_CANCELLED_SECONDS = 0.05


class Call:
    """The state of a call.

    Attributes:
        method: its name in clip.proto; for another service "SERVICE.METHOD".
        request: the context of the work for the call, with its id.
        authorization, traceparent: the metadata of these names.
        connection: the address and the port of the caller.
        address: the address to which limits apply; see `address_of`.
        outcome: a word for metrics and logs.
        task: gRPC's task of the call, which runs until the client has taken the answer or left.
    """

    def __init__(self, method: str, context: Context, limits: CallLimits) -> None:
        self.method = method
        self.endpoint = f"grpc {method}"
        self.context = context
        pairs = tuple(context.invocation_metadata() or ())
        metadata = dict(pairs)
        # Several values are ambiguous: joined, they match no key.
        self.authorization = ", ".join(str(value) for name, value in pairs if name == "authorization") or None
        self.traceparent = _text(metadata.get("traceparent"))
        self.connection = context.peer()
        forwarded = str(metadata.get("x-forwarded-for", ""))
        self.address = address_of(limits.proxies.client_of(_host(self.connection), forwarded))
        self.request = RequestContext(request_id(_text(metadata.get("x-request-id"))), address=self.address)
        self.outcome = "OK"
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._limits = limits
        self._expiry: asyncio.TimerHandle | None = None
        self._failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """The seconds left: the caller's deadline, and at most `deadline_seconds`."""
        remaining, most = self.context.time_remaining(), self._limits.deadline_seconds
        return most if remaining is None else min(most, remaining)

    async def without_message(self) -> ClipError:
        """The error of a call that ended without a message.

        A cancelled call, or one whose deadline is over, looks the same; gRPC cancels its task a moment later.
        """
        await asyncio.sleep(_UNTIL_CANCELLED_SECONDS)
        if self.context.time_remaining() == 0:
            return DeadlineExceeded("the deadline was over before a message had come.")
        return MalformedRequest("the call ended without a message.")

    def failed(self, error: Exception) -> None:
        """Answer the call with this error."""
        self._failure = failure_of(error, self.request.id)
        self.outcome = self._failure.word
        error.__traceback__ = None  # `clears_frame` says why

    def cancelled(self) -> None:
        """Record that the caller has left, or that its deadline is over: no answer is sent."""
        self.outcome = "deadline_exceeded" if self.context.time_remaining() == 0 else CLIENT_GONE

    async def write(self, answer: bytes, seconds: float = math.inf) -> None:
        """Send one of several answers. The call is dropped if the client does not take it in time (`seconds`).

        Raises:
            CancelledError: the client has left.
        """
        self._must_be_taken(len(answer), seconds)
        try:
            await self.context.write(answer)
        except (
            InternalError
        ):  # so gRPC ends a write whose client leaves, if it does not cancel the task first
            raise asyncio.CancelledError from None
        self.taken()

    def answer(self, size: int) -> Coroutine[Any, Any, None] | None:
        """Set the metadata, which gRPC sends when the method returns. For a failed call, return what to await.

        `size`: the bytes that are still to be sent. The call is dropped if the client does not take them.
        """
        self._must_be_taken(size)
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

    def taken(self) -> None:
        """Record that the client has taken the answer, or is gone."""
        if self._expiry:
            self._expiry.cancel()

    def _must_be_taken(self, size: int, most: float = math.inf) -> None:
        limits = self._limits
        seconds = limits.write_timeout_seconds + size / limits.min_body_bytes_per_second
        self._expiry = asyncio.get_running_loop().call_later(min(seconds, most), drop, self.task)


def _text(value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) else None


def _host(peer: str) -> str:
    """Of what gRPC calls a peer: ipv4:127.0.0.1:1234, ipv6:%5B::1%5D:1234."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")

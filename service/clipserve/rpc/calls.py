"""Runs the calls of all methods.

It gives a call its id and its deadline, checks its key and the quota of calls before a byte of a message is read,
runs the method, and turns any error into the status. A method takes and returns bytes, and is registered as a
streaming one: on the wire this is the same, and the library does not read its message before it is called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from grpc.aio import EOF, InternalError
from grpc.aio import ServicerContext as Context

from clipserve.access.gate import when_there_is_room
from clipserve.access.keys import Scope
from clipserve.application.body import Body
from clipserve.application.shared import Shared, record
from clipserve.connections import address_of
from clipserve.errors import BackendUnavailable, ClipError, DeadlineExceeded, MalformedRequest, Overloaded
from clipserve.quota import Lease, Quota
from clipserve.rpc.errors import Failure, failure_of
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.reads import Reads
from clipserve.telemetry import tracing
from clipserve.telemetry.metrics import CLIENT_GONE
from clipserve.telemetry.request import RequestContext, enter, request_id

Work = Callable[[Body], Coroutine[Any, Any, bytes]]  # message -> bytes of the answer
Answer = Callable[["Call"], Awaitable[bytes]]  # returns the rest to send

_SCOPES: Mapping[str, Scope] = {"PutLabelSet": "manage", "DeleteLabelSet": "manage"}  # all others: use
_PROBE = "health.Check"  # it needs no key, and is not logged
_BULK = frozenset({"Embed", "EmbedStream"})  # methods that can be bulk requests; the second always is
_BULK_PATIENCE = 60  # deadlines of a bulk request, which waits for all others
_REST_SECONDS = 1.0  # for what a refused stream still sends
_SMALL = 65_536  # bytes of an answer: 64 MB for 1,000 calls


class Call:
    """The state of a call.

    Attributes:
        method: its name in clip.proto; for another service "SERVICE.METHOD".
        request: the context of the work for the call, with its id.
        authorization: the metadata of this name.
        bytes: what it holds of the quota of bytes, until its client has taken the answer.
        outcome: a word for metrics and logs.
    """

    def __init__(self, method: str, context: Context, quota: Quota, limits: RpcOptions) -> None:
        self.method = method
        self.context = context
        pairs = tuple(context.invocation_metadata() or ())
        metadata = {name: value for name, value in pairs if isinstance(value, str)}
        # Several values are ambiguous: joined, they match no key.
        self.authorization = ", ".join(str(value) for name, value in pairs if name == "authorization") or None
        forwarded = metadata.get("x-forwarded-for", "")
        address = address_of(limits.proxies.client_of(host_of(context.peer()), forwarded))
        self.request = RequestContext(request_id(metadata.get("x-request-id")), address=address)
        self.request.span = tracing.begin(metadata.get("traceparent"))
        asked = method == "EmbedStream" or metadata.get("x-priority") == "bulk"
        self.request.bulk = asked and method in _BULK
        self.bytes = Lease(quota, address)
        self.outcome = "OK"

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What gRPC sends with the last bytes."""
        timing = self.request.server_timing
        return (("x-request-id", self.request.id), *([("server-timing", timing)] if timing else []))

    async def write(self, answer: bytes) -> None:
        """Send one of several answers. Raises CancelledError: the client has left."""
        try:
            await self.context.write(answer)
        except InternalError:  # so gRPC ends a write whose client leaves, unless it cancels the task first
            raise asyncio.CancelledError from None


class Calls:
    """See the module. `ending`: no new calls come. `cut_off`: gRPC cancels the calls that are left then."""

    def __init__(self, shared: Shared, limits: RpcOptions) -> None:
        self._shared = shared
        self._limits = limits
        self.ending = self.cut_off = False
        most, shares = limits.grpc_max_calls, limits.shares_address
        self.quota = Quota("calls", most, None if shares else (most + 1) // 2)
        places = max(1, limits.max_in_flight_bytes // limits.max_body_bytes)
        self.reads = Reads(places, limits.body_timeout_seconds, shares_address=shares)

    def unary(self, method: str, work: Work) -> grpc.RpcMethodHandler:
        """The handler of a method with one message and one answer."""
        return grpc.stream_unary_rpc_method_handler(self._handler(method, partial(self._answer, work)))

    def stream(self, method: str, answer: Answer) -> grpc.RpcMethodHandler:
        """The handler of a method with many messages and answers, which `answer` reads and writes."""
        return grpc.stream_stream_rpc_method_handler(self._handler(method, answer))

    def _handler(self, method: str, answer: Answer) -> Callable[[object, Context], Awaitable[bytes]]:
        async def run(messages: object, context: Context) -> bytes:
            call = Call(method, context, self._shared.budget, self._limits)
            answered = await self._run(call, answer)
            if isinstance(answered, bytes):
                context.set_trailing_metadata(call.metadata)
                return answered
            metadata = (*call.metadata, ("grpc-status-details-bin", answered.details))
            aborting: Awaitable[bytes] = context.abort(answered.code, answered.message, metadata)
            # gRPC holds the error of `abort`, whose traceback holds this frame: clear its reference to the call.
            del messages, context, call
            return await aborting  # it raises

        return run

    async def _run(self, call: Call, answer: Answer) -> bytes | Failure:
        enter(call.request)
        task = asyncio.current_task()  # gRPC's, which runs until the client has taken the answer or left
        assert task is not None
        task.add_done_callback(lambda _: self._close(call))
        try:
            await self._enter(call, task)
            bulk = call.request.bulk
            try:
                place = self._shared.bulk.lease(call.request.caller, 1) if bulk else nullcontext()
            except Overloaded:
                await self._take_rest(call)
                raise
            with place:
                return await answer(call)
        except asyncio.CancelledError:
            late = call.context.time_remaining() == 0
            left = BackendUnavailable.code if self.cut_off else CLIENT_GONE
            call.outcome = DeadlineExceeded.code if late else left  # no answer is sent
            raise
        except Exception as error:  # any error of a method; `failure_of` distinguishes them
            failure = failure_of(error, call.request.id)
            error.__traceback__ = None  # its frames hold the body, and the tasks that hold it
            call.outcome = failure.word
            call.bytes.shrink(call.bytes.size)
            return failure

    async def _enter(self, call: Call, task: asyncio.Task[Any]) -> None:
        """Take a place among the calls, which is held until the task ends, and check the key."""
        task.add_done_callback(self.quota.lease(call.request.address, 1).__exit__)
        if call.method != _PROBE:
            scope = _SCOPES.get(call.method, "use")
            await self._shared.gate.enter(call.authorization, scope)

    async def _take_rest(self, call: Call) -> None:
        """Read what a refused client sends: grpc.aio gives who still writes INTERNAL in place of the status."""
        read = partial(self.reads.receive, call.request.address, call.context.read)
        with suppress(TimeoutError, ClipError):
            async with asyncio.timeout(_REST_SECONDS):
                while await read() is not EOF:
                    pass

    def _close(self, call: Call) -> None:
        call.bytes.shrink(call.bytes.size)
        name, quiet = f"grpc {call.method}", call.method == _PROBE
        record(self._shared.metrics, call.request, name, call.outcome, quiet=quiet)

    async def _answer(self, work: Work, call: Call) -> bytes:
        body = Body(await self.first_message(call))
        call.bytes.grow(len(body))
        charge = partial(self._shared.gate.charge, size=len(body))
        await (when_there_is_room(charge) if call.request.bulk else charge())
        seconds, left = self._limits.deadline_seconds, call.context.time_remaining()
        seconds *= _BULK_PATIENCE if call.request.bulk else 1
        seconds = seconds if left is None else min(seconds, left)
        call.request.deadline = time.monotonic() + seconds
        try:
            # gRPC cancels the task that runs this if the client leaves or its deadline is over.
            async with asyncio.timeout(seconds) as timer:
                answered = await work(body)
        except TimeoutError:
            if not timer.expired():
                raise
            raise DeadlineExceeded(
                f"there was no answer within {round(seconds, 3):g} s.", limit=seconds
            ) from None
        if len(answered) > _SMALL:
            # What was computed and charged is not refused.
            (call.bytes.add if call.request.rows else call.bytes.grow)(len(answered))
        return answered

    async def first_message(self, call: Call) -> bytes:
        """The message of a call, whose client need not end its side. Raises what `Reads.receive` does."""
        message: Any = await self.reads.receive(call.request.address, call.context.read)
        if message is EOF:
            await asyncio.sleep(0.05)  # a cancelled call looks the same: gRPC cancels its task a moment later
            raise MalformedRequest("the call ended without a message.")
        return bytes(message)


def host_of(peer: str) -> str:
    """Of what gRPC calls a peer: ipv4:127.0.0.1:1234, ipv6:%5B::1%5D:1234."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")

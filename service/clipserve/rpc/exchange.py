"""Runs the calls of all methods.

It gives a call its id and its deadline, checks its key before it reads a byte of a message, runs the method, and
turns any error into the status. Errors of whole calls are rendered only here.

A method takes bytes and returns bytes, and is registered as a streaming one. On the wire this is the same, and it
lets this module decide when to read a message, and whether to read it at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import grpc
from grpc.aio import EOF
from grpc.aio import ServicerContext as Context

from clipserve.access.gate import Gate
from clipserve.access.keys import Scope
from clipserve.application.body import Body
from clipserve.application.shared import record
from clipserve.errors import DeadlineExceeded, Overloaded
from clipserve.quota import Lease, Quota
from clipserve.rpc.call import Call, Work
from clipserve.rpc.options import CallLimits
from clipserve.rpc.reading import ReadSlots
from clipserve.telemetry import tracing
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import enter

Answer = Callable[[Call, Lease], Awaitable[bytes]]  # returns the rest to send

_SCOPES: Mapping[str, Scope] = {"PutLabelSet": "manage", "DeleteLabelSet": "manage"}  # all others: use
_PROBES = frozenset({"health.Check", "health.Watch"})  # they need no key, and are not logged
_SMALL = 65_536  # bytes of an answer: 64 MB for 1,000 calls


class RpcExchange:
    """Runs calls; see the module."""

    def __init__(
        self,
        gate: Gate,
        slots: ReadSlots,
        budget: Quota,
        limits: CallLimits,
        metrics: Metrics,
    ) -> None:
        self._gate = gate
        self._slots = slots
        self._budget = budget
        self._limits = limits
        self._metrics = metrics
        self._calls: Counter[str] = Counter()  # in flight, by address

    @property
    def calls(self) -> int:
        """The number of calls in flight."""
        return self._calls.total()

    def unary(self, method: str, work: Work) -> grpc.RpcMethodHandler:
        """The handler of a method with one message and one answer."""
        return grpc.stream_unary_rpc_method_handler(self._handler(method, partial(self._answer, work)))

    def stream(self, method: str, answer: Answer) -> grpc.RpcMethodHandler:
        """The handler of a method with many messages and answers, which `answer` reads and writes."""
        return grpc.stream_stream_rpc_method_handler(self._handler(method, answer))

    def _handler(self, method: str, answer: Answer) -> Callable[[object, Context], Awaitable[bytes]]:
        async def run(messages: object, context: Context) -> bytes:
            call = Call(method, context, self._limits)
            answered = await self._run(call, answer)
            aborting = call.answer(len(answered))
            # gRPC holds the error of `abort`, whose traceback holds this frame: clear its reference to the call.
            del messages, context, call
            if aborting:
                await aborting
            return answered

        return run

    async def _run(self, call: Call, answer: Answer) -> bytes:
        call.request.span = tracing.begin(call.traceparent)
        enter(call.request)
        lease = self._open(call)
        try:
            await self._enter(call)
            return await answer(call, lease)
        except asyncio.CancelledError:
            call.cancelled()
            raise
        except Exception as error:  # any error of a method; `failure_of` distinguishes them
            call.failed(error)
            return b""

    def _open(self, call: Call) -> Lease:
        """Count the call, until its client has taken the answer: then the task of gRPC that runs this ends."""
        self._calls[call.address] += 1
        lease = self._budget.lease(call.address)
        call.task.add_done_callback(lambda _: self._close(call, lease))
        return lease

    def _close(self, call: Call, lease: Lease) -> None:
        lease.shrink(lease.size)
        call.taken()
        self._calls[call.address] -= 1
        if not self._calls[call.address]:
            del self._calls[call.address]
        quiet = call.method in _PROBES
        record(self._metrics, call.request, call.endpoint, call.outcome, quiet=quiet)

    async def _enter(self, call: Call) -> None:
        limit_of_all = self._limits.grpc_max_calls
        limit_of_address = limit_of_all if self._limits.shares_address else (limit_of_all + 1) // 2
        for who, calls, limit in (
            ("there are", self.calls, limit_of_all),
            ("your address has", self._calls[call.address], limit_of_address),
        ):
            if calls > limit:
                raise Overloaded(
                    f"{who} {calls:,} calls in flight; the limit is {limit:,}. Try again later.",
                    retry_after=1,
                )
        if call.method not in _PROBES:
            await self._gate.enter(call.authorization, _SCOPES.get(call.method, "use"))

    async def _answer(self, work: Work, call: Call, lease: Lease) -> bytes:
        body = await self._slots.receive(call.connection, lambda: _first_message(call))
        lease.grow(len(body))
        await self._gate.charge(size=len(body))
        seconds = call.seconds
        call.request.deadline = time.monotonic() + seconds
        answered = await _within(seconds, work(body))
        if len(answered) > _SMALL:
            lease.grow(len(answered))
        return answered


async def _first_message(call: Call) -> Body:
    """The message of a call. As in gRPC's own unary methods, the client need not end its side: each read costs."""
    message = await call.context.read()
    if message is EOF:
        raise await call.without_message()
    return Body(message)


async def _within(seconds: float, work: Coroutine[Any, Any, bytes]) -> bytes:
    """A client that leaves cancels the task of gRPC that runs this, and so the work, and so does the deadline."""
    try:
        async with asyncio.timeout(seconds) as timer:
            return await work
    except TimeoutError:
        if not timer.expired():
            raise
        raise DeadlineExceeded(f"there was no answer within {seconds:.3g} s.", limit=seconds) from None

"""grpc.reflection.v1alpha, which describes the methods to clients such as grpcurl, with the package's servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from clipserve.access.gate import Gate
from clipserve.quota import Lease
from clipserve.rpc.call import Call
from clipserve.rpc.small_calls import SmallCalls

SERVICE = reflection.SERVICE_NAME


class Reflection:
    """Answers calls of reflection. A call is a stream of requests, and ends when none comes for a while."""

    def __init__(self, gate: Gate, calls: SmallCalls, services: Iterable[str]) -> None:
        """`services`: the full names of the other services."""
        self._gate = gate
        self._calls = calls
        self._servicer = reflection.aio.ReflectionServicer((*services, SERVICE))

    async def info(self, call: Call, _: Lease) -> bytes:
        """Answer all requests of a call.

        Raises:
            Overloaded, BodyTooLarge, BodyTooSlow: see `clipserve.errors`; after the answers to the requests before.
        """
        with self._calls.place(call):
            async with aclosing(self._servicer.ServerReflectionInfo(self._messages(call), None)) as answers:
                async for answer in answers:
                    await call.write(answer.SerializeToString())
        return b""

    async def _messages(self, call: Call) -> AsyncIterator[ServerReflectionRequest]:
        while message := await self._calls.read(call, ServerReflectionRequest):
            await self._gate.charge(size=message.ByteSize())
            yield message

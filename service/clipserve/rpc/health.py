"""grpc.health.v1 and grpc.reflection.v1alpha.

Health is of the service as a whole (""), of the service of clip.proto, and of each model by its name. The package's
servicer is not used: it forgets all watchers of a service when one of them leaves. Reflection describes the methods
to clients such as grpcurl, with the package's servicer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import TypeVar

import grpc
from google.protobuf.message import Message as ProtoMessage
from grpc.aio import EOF
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from clipserve.access.gate import Gate
from clipserve.application.inference import Inference
from clipserve.errors import BodyTooLarge, UnknownModel
from clipserve.rpc.calls import Call, Calls
from clipserve.rpc.message import parsed

HEALTH = health.SERVICE_NAME
REFLECTION = reflection.SERVICE_NAME

Message = TypeVar("Message", bound=ProtoMessage)

_MAX_BYTES = 1_024  # of a message
_SECONDS_BETWEEN_LOOKS = 0.25

_Response = health_pb2.HealthCheckResponse


class Health:
    """Answers calls of health. The readiness is updated while `follow` runs."""

    def __init__(self, inference: Inference, calls: Calls, service: str) -> None:
        """`service`: the full name of the service of clip.proto."""
        self._inference = inference
        self._calls = calls
        self._services = ("", service)
        self._ready: Mapping[str, bool] = dict.fromkeys((*self._services, *inference.names), False)
        self._ended = False

    async def follow(self) -> None:
        """Update the readiness until cancelled. Then tell watchers that nothing is ready, and end their calls."""
        self._ended = False
        try:
            while True:
                self._ready = await self._states()
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._ready, self._ended = dict.fromkeys(self._ready, False), True

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods of the service."""
        stream = self._calls.stream
        return {"Check": stream("health.Check", self.check), "Watch": stream("health.Watch", self.watch)}

    async def check(self, call: Call) -> bytes:
        """Answer with the present state of one service or model."""
        service = await self._service(call)
        if service not in self._ready:
            raise UnknownModel("there is no such service or model.")
        await call.write(self._answer(service))
        return b""

    async def watch(self, call: Call) -> bytes:
        """Answer with the present state, and again after each change."""
        service, told = await self._service(call), None
        while True:
            ended, status = self._ended, self._status(service)
            if status != told:
                await call.write(self._answer(service))
            if ended:
                return b""
            told = status
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def _service(self, call: Call) -> str:
        """The name that the message has."""
        message = await small_message(self._calls, call, health_pb2.HealthCheckRequest)
        if message is None:
            raise await call.without_message()
        service: str = message.service
        return service

    def _answer(self, service: str) -> bytes:
        return bytes(_Response(status=self._status(service)).SerializeToString())

    def _status(self, service: str) -> int:
        if service not in self._ready:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if self._ready[service] else _Response.NOT_SERVING)

    async def _states(self) -> Mapping[str, bool]:
        ready = await self._inference.ready()
        models = await self._inference.models()
        serving = {model.id: model.ready and not self._inference.draining for model in models}
        return dict.fromkeys(self._services, ready) | serving


class Reflection:
    """Answers calls of reflection. A call is a stream of requests, and ends when none comes for a while."""

    def __init__(self, gate: Gate, calls: Calls, services: Iterable[str]) -> None:
        """`services`: the full names of the other services."""
        self._gate = gate
        self._calls = calls
        self._servicer = reflection.aio.ReflectionServicer((*services, REFLECTION))

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods of the service."""
        name = "ServerReflectionInfo"
        return {name: self._calls.stream(f"reflection.{name}", self.info)}

    async def info(self, call: Call) -> bytes:
        """Answer all requests of a call.

        Raises:
            Overloaded, BodyTooLarge, BodyTooSlow: see `clipserve.errors`; after the answers to the requests before.
        """
        async with aclosing(self._servicer.ServerReflectionInfo(self._messages(call), None)) as answers:
            async for answer in answers:
                await call.write(answer.SerializeToString())
        return b""

    async def _messages(self, call: Call) -> AsyncIterator[ServerReflectionRequest]:
        while message := await small_message(self._calls, call, ServerReflectionRequest):
            await self._gate.charge(size=message.ByteSize())
            yield message


async def small_message(calls: Calls, call: Call, kind: type[Message]) -> Message | None:
    """The next message of a call; None: the stream has ended.

    Raises:
        BodyTooLarge, BodyTooSlow, MalformedRequest, Overloaded: see `clipserve.errors`.
    """
    data = await calls.reads.receive(call.request.address, call.context.read)
    if data is EOF:
        return None
    if (size := len(data)) > _MAX_BYTES:
        del data  # the error's traceback would hold it
        raise BodyTooLarge(
            f"the message has {size:,} bytes; the limit of {call.method} is {_MAX_BYTES:,}. Send fewer.",
            limit=_MAX_BYTES,
            actual=size,
        )
    return parsed(kind, data, _MAX_BYTES)

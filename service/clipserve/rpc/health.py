"""grpc.health.v1 and grpc.reflection.v1alpha, behind the same walls as Clip.

Health is of the service as a whole (""), of the service of clip.proto, and of each model by its name. The package's
servicer is not used: it forgets all watchers of a service when one of them leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
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
from clipserve.errors import UnknownModel
from clipserve.rpc.calls import Call, Calls
from clipserve.rpc.message import parsed

HEALTH = health.SERVICE_NAME
REFLECTION = reflection.SERVICE_NAME
Message = TypeVar("Message", bound=ProtoMessage)

_MAX_BYTES = 1_024  # of a message
_SECONDS_BETWEEN_LOOKS = 0.25
_Response = health_pb2.HealthCheckResponse


class Health:
    """The methods of health. Watchers are told the end of the service, and their calls end with it."""

    def __init__(self, inference: Inference, calls: Calls, service: str) -> None:
        """`service`: the full name of the service of clip.proto."""
        self._inference = inference
        self._calls = calls
        self._services = ("", service)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods of the service."""
        stream = self._calls.stream
        return {"Check": stream("health.Check", self.check), "Watch": stream("health.Watch", self.watch)}

    async def check(self, call: Call) -> bytes:
        """Answer with the present state of one service or model; its bytes count against no quota."""
        status = await self._status(await self._service(call))
        if status == _Response.SERVICE_UNKNOWN:
            raise UnknownModel("there is no such service or model.")
        await call.write(_answer(status))
        return b""

    async def watch(self, call: Call) -> bytes:
        """Answer with the present state, and again after each change."""
        service, told = await self._service(call), None
        while True:
            ending, status = self._calls.ending, await self._status(service)
            if status != told:
                await call.write(_answer(status))
            if ending:
                return b""
            told = status
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def _service(self, call: Call) -> str:
        message = _read(health_pb2.HealthCheckRequest, await self._calls.first_message(call))
        return str(message.service)

    async def _status(self, service: str) -> int:
        if service in self._services:
            ready = await self._inference.ready()
        elif service in self._inference.names:
            models = [each for each in await self._inference.models() if each.id == service]
            ready = models[0].ready and not self._inference.draining
        else:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if ready and not self._calls.ending else _Response.NOT_SERVING)


def reflection_handlers(
    gate: Gate, calls: Calls, services: Iterable[str]
) -> dict[str, grpc.RpcMethodHandler]:
    """The method of reflection, also of these other services: a call ends when no question comes for a while."""
    servicer = reflection.aio.ReflectionServicer((*services, REFLECTION))

    async def questions(call: Call) -> AsyncIterator[ServerReflectionRequest]:
        while (data := await calls.reads.receive(call.request.address, call.context.read)) is not EOF:
            await gate.charge(size=len(data))
            yield _read(ServerReflectionRequest, data)

    async def info(call: Call) -> bytes:
        async with aclosing(servicer.ServerReflectionInfo(questions(call), None)) as answers:
            async for answer in answers:
                await call.write(answer.SerializeToString())
        return b""

    return {"ServerReflectionInfo": calls.stream("reflection.ServerReflectionInfo", info)}


def _read(kind: type[Message], data: bytes) -> Message:
    return parsed(kind, data, _MAX_BYTES)


def _answer(status: int) -> bytes:
    return bytes(_Response(status=status).SerializeToString())

"""grpc.health.v1 and grpc.reflection.v1alpha, behind the same walls as Clip.

Health is of the service as a whole (""), of the service of clip.proto, and of each model by its name. It has no
Watch: clients that balance by health take a server without it for healthy.
"""

from __future__ import annotations

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
_Response = health_pb2.HealthCheckResponse


def health_handlers(inference: Inference, calls: Calls, service: str) -> dict[str, grpc.RpcMethodHandler]:
    """The method of health. `service`: the full name of the service of clip.proto."""

    async def check(call: Call) -> bytes:
        asked = _read(health_pb2.HealthCheckRequest, await calls.first_message(call)).service
        if asked in ("", service):
            ready = await inference.ready()
        elif asked in inference.names:
            models = [each for each in await inference.models() if each.id == asked]
            ready = models[0].ready and not inference.draining
        else:
            raise UnknownModel("there is no such service or model.")
        status = _Response.SERVING if ready and not calls.ending else _Response.NOT_SERVING
        await call.write(bytes(_Response(status=status).SerializeToString()))  # it counts against no quota
        return b""

    return {"Check": calls.stream("health.Check", check)}


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

"""grpc.health.v1: the service as a whole (""), the service of clip.proto, and each model by its name.

The package's servicer is not used: it forgets all watchers of a service when one of them leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from grpc_health.v1 import health, health_pb2

from clipserve.application.inference import Inference
from clipserve.errors import UnknownModel
from clipserve.quota import Lease
from clipserve.rpc.call import Call
from clipserve.rpc.small_calls import SmallCalls

SERVICE = health.SERVICE_NAME

_SECONDS_BETWEEN_LOOKS = 0.25

_Response = health_pb2.HealthCheckResponse


class Health:
    """Answers calls of health. The readiness is updated while `follow` runs."""

    def __init__(
        self, inference: Inference, calls: SmallCalls, service: str, seconds_between_news: float
    ) -> None:
        """`service`: the full name of the service of clip.proto. `seconds_between_news`: see `RpcOptions`."""
        self._inference = inference
        self._calls = calls
        self._seconds_between_news = seconds_between_news
        self._services = ("", service)
        self._ready: Mapping[str, bool] = dict.fromkeys((*self._services, *inference.names), False)
        self._changed = asyncio.Event()
        self._ended = False

    async def follow(self) -> None:
        """Update the readiness until cancelled. Then tell watchers that nothing is ready, and end their calls."""
        self._ended = False
        try:
            while True:
                self._tell(await self._states())
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._ended = True
            self._tell(dict.fromkeys(self._ready, False))

    async def check(self, call: Call, _: Lease) -> bytes:
        """Answer with the present state of one service or model."""
        with self._calls.place(call):
            service = await self._service(call)
            if service not in self._ready:
                raise UnknownModel("there is no such service or model.")
            await call.write(self._answer(service))
        return b""

    async def watch(self, call: Call, _: Lease) -> bytes:
        """Answer with the present state, and again after each change, and after a while without one."""
        with self._calls.place(call):
            service = await self._service(call)
            while True:
                ended, status = self._ended, self._status(service)
                await call.write(self._answer(service))
                if ended:
                    return b""
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_between_news):
                        await self._other_status(service, status)

    async def _service(self, call: Call) -> str:
        """The name that the message has."""
        message = await self._calls.read(call, health_pb2.HealthCheckRequest)
        if message is None:
            raise await call.without_message()
        service: str = message.service
        return service

    async def _other_status(self, service: str, status: int) -> None:
        """Until the status is another than this, or none will follow."""
        while not self._ended and self._status(service) == status:
            await self._changed.wait()

    def _answer(self, service: str) -> bytes:
        return bytes(_Response(status=self._status(service)).SerializeToString())

    def _status(self, service: str) -> int:
        if service not in self._ready:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if self._ready[service] else _Response.NOT_SERVING)

    async def _states(self) -> Mapping[str, bool]:
        ready = await self._inference.ready()
        models = await self._inference.models()
        serving = {model.manifest.name: model.ready and not self._inference.draining for model in models}
        return dict.fromkeys(self._services, ready) | serving

    def _tell(self, ready: Mapping[str, bool]) -> None:
        if ready != self._ready or self._ended:
            self._ready = ready
            self._changed.set()
            self._changed = asyncio.Event()

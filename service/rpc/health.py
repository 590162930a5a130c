"""grpc.health.v1: the service as a whole (""), the service of clip.proto, and each model by its name.

The servicer that comes with the package forgets all who watch a service when one of them leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
from grpc.aio import ServicerContext as Context
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.application.inference import Inference

_SECONDS_BETWEEN_LOOKS = 0.25
_MAX_WATCHERS = 1_000

_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Follows the readiness of the service while `follow` runs."""

    def __init__(self, inference: Inference, service: str) -> None:
        """`service`: the full name of the one that the models are served by."""
        self._inference = inference
        self._services = ("", service)
        self._ready: Mapping[str, bool] = dict.fromkeys((*self._services, *inference.names), False)
        self._changed = asyncio.Event()
        self._watchers = 0
        self._ended = False

    async def follow(self) -> None:
        """Until it is cancelled: then nothing is ready any more, and whoever watches is told so, and sent away."""
        self._ended = False
        try:
            while True:
                self._tell(await self._states())
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._ended = True
            self._tell(dict.fromkeys(self._ready, False))

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The state of one service or model now."""
        if request.service not in self._ready:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("no such service or model.")
        return _Response(status=self._status(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """The state now, and again whenever it changes."""
        if self._watchers >= _MAX_WATCHERS:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details(f"{_MAX_WATCHERS:,} clients watch already, which is the limit.")
            return
        self._watchers += 1
        try:
            await self._watch(request.service, context)
        finally:
            self._watchers -= 1

    async def _watch(self, service: str, context: Context) -> None:
        told = None
        while True:
            changed, ended, status = self._changed, self._ended, self._status(service)
            if status != told:
                await context.write(_Response(status=status))
                told = status
            if ended:
                return
            await changed.wait()

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

"""Wires the gRPC front."""

from __future__ import annotations

from functools import partial

import grpc

from clipserve.application.shared import Shared
from clipserve.rpc.exchange import RpcExchange
from clipserve.rpc.health import SERVICE as HEALTH
from clipserve.rpc.health import Health
from clipserve.rpc.methods import Methods
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.reading import ReadLimits, ReadSlots
from clipserve.rpc.reflection import SERVICE as REFLECTION
from clipserve.rpc.reflection import Reflection
from clipserve.rpc.server import CLIP, SERVICE, RpcServer
from clipserve.rpc.small_calls import SmallCalls
from clipserve.rpc.streaming import StreamCalls


def build_rpc(shared: Shared, options: RpcOptions) -> RpcServer:
    """The gRPC server, which does not listen yet."""
    gate, slots = shared.gate, max(1, options.max_in_flight_bytes // options.max_body_bytes)
    reads = ReadSlots(ReadLimits(slots, options.body_timeout_seconds))
    exchange = RpcExchange(gate, reads, shared.budget, options, shared.metrics)
    methods = Methods(shared, options.max_json_bytes)
    streaming = StreamCalls(gate, shared.bulk_places, options)
    handlers: dict[str, grpc.RpcMethodHandler] = {}
    for method in CLIP.methods:
        work = getattr(methods, method.name)
        handlers[method.name] = (
            exchange.stream(method.name, partial(streaming, work))
            if method.client_streaming
            else exchange.unary(method.name, work)
        )
    small = SmallCalls(options)
    health = Health(shared.inference, small, SERVICE, options.seconds_between_news)
    reflection = Reflection(gate, small, (SERVICE, HEALTH))
    services = {
        SERVICE: handlers,
        HEALTH: {
            "Check": exchange.stream("health.Check", health.check),
            "Watch": exchange.stream("health.Watch", health.watch),
        },
        REFLECTION: {
            "ServerReflectionInfo": exchange.stream("reflection.ServerReflectionInfo", reflection.info)
        },
    }
    return RpcServer(services, health, options)

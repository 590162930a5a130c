"""Wires the gRPC front."""

from __future__ import annotations

from functools import partial

from clipserve.application.shared import Shared
from clipserve.rpc.exchange import RpcExchange
from clipserve.rpc.health import SERVICE as HEALTH
from clipserve.rpc.health import Health
from clipserve.rpc.label_sets import LabelSetMethods
from clipserve.rpc.methods import Methods
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.parsing import Parsing
from clipserve.rpc.reading import ReadLimits, Reads
from clipserve.rpc.reflection import SERVICE as REFLECTION
from clipserve.rpc.reflection import Reflection
from clipserve.rpc.server import SERVICE, RpcServer
from clipserve.rpc.small_calls import SmallCalls
from clipserve.rpc.streaming import Streaming


def build_rpc(shared: Shared, options: RpcOptions) -> RpcServer:
    """The gRPC server, which does not listen yet."""
    inference, side, gate = shared.inference, shared.side, shared.gate
    parsing = Parsing(side, inference.limits, options.max_json_bytes)
    methods = Methods(inference, side, parsing)
    label_sets = LabelSetMethods(inference.label_sets, side, parsing)
    places = max(1, options.max_in_flight_bytes // options.max_body_bytes)
    exchange = RpcExchange(
        gate,
        Reads(ReadLimits(places, options.body_timeout_seconds)),
        shared.budget,
        options,
        shared.metrics,
    )
    unary = {**methods.unary(), **label_sets.unary()}
    handlers = {name: exchange.unary(name, work) for name, work in unary.items()}
    streaming = Streaming(gate, shared.bulk_places, options)
    handlers["EmbedStream"] = exchange.stream("EmbedStream", partial(streaming, methods.embed_item))
    small = SmallCalls(options)
    health = Health(inference, small, SERVICE)
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

"""The gRPC front, put together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from clipserve.access.gate import Gate
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.inference import Inference
from clipserve.application.stream import BulkPlaces
from clipserve.concurrency import SideThread
from clipserve.rpc.call import TakingLimits
from clipserve.rpc.exchange import CallLimits, RpcExchange
from clipserve.rpc.health import SERVICE as HEALTH
from clipserve.rpc.health import Health
from clipserve.rpc.label_sets import LabelSetMethods
from clipserve.rpc.methods import Methods
from clipserve.rpc.parsing import Parsing
from clipserve.rpc.reading import ReadLimits, Reads
from clipserve.rpc.reflection import SERVICE as REFLECTION
from clipserve.rpc.reflection import Reflection
from clipserve.rpc.server import SERVICE, RpcOptions, RpcServer
from clipserve.rpc.small_calls import SmallCalls, SmallLimits
from clipserve.rpc.streaming import Streaming, StreamLimits
from clipserve.telemetry.metrics import Metrics

T = TypeVar("T")


class Picked(Protocol):
    """Fills a dataclass with the settings of the same names."""

    def __call__(self, kind: type[T], /) -> T: ...


@dataclass(frozen=True)
class _MessageLimits:
    """See the settings of the same names."""

    max_body_bytes: int
    max_json_bytes: int
    max_in_flight_bytes: int
    body_timeout_seconds: float

    @property
    def reads(self) -> ReadLimits:
        return ReadLimits(max(1, self.max_in_flight_bytes // self.max_body_bytes), self.body_timeout_seconds)


def build_rpc(
    inference: Inference,
    side: SideThread,
    budget: ByteBudget,
    bulk: BulkPlaces,
    gate: Gate,
    metrics: Metrics,
    picked: Picked,
) -> RpcServer:
    """A server that does not listen yet."""
    messages = picked(_MessageLimits)
    parsing = Parsing(side, inference.limits, messages.max_json_bytes)
    methods = Methods(inference, side, parsing)
    label_sets = LabelSetMethods(inference.label_sets, side, parsing)
    exchange = RpcExchange(
        gate, Reads(messages.reads), budget, picked(CallLimits), picked(TakingLimits), metrics
    )
    unary = {**methods.unary(), **label_sets.unary()}
    handlers = {name: exchange.unary(name, work) for name, work in unary.items()}
    streaming = Streaming(gate, bulk, picked(StreamLimits))
    handlers["EmbedStream"] = exchange.stream("EmbedStream", partial(streaming, methods.embed_item))
    small = SmallCalls(picked(SmallLimits))
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
    return RpcServer(services, health, picked(RpcOptions))

"""The gateway alone: what HTTP, parsing, tokenizing, batching and answering cost when engines cost nothing."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests import closed_loop, wrk
from loadtests.observe import Observer
from loadtests.process import Server
from loadtests.scenarios import SCENARIOS
from loadtests.wrk import Texts


@dataclass(frozen=True)
class GatewayRun:
    """`server_cpu`: CPU seconds of the server a request."""

    texts: Texts
    server_cpu: float


def gateway(server: Server, connections: int, seconds: float, first: int = 0) -> GatewayRun:
    """Text requests as fast as `connections` can ask; by wrk where it is installed."""
    with Observer(server) as observer:
        if wrk.available():
            found = wrk.texts(server.url, connections, seconds)
        else:
            found = _python(server.url, connections, seconds, first)
    cpu = observer.observation.cpu_seconds or 0.0
    return GatewayRun(found, cpu / max(1, found.requests))


def _python(url: str, connections: int, seconds: float, first: int) -> Texts:
    load = closed_loop.run(url, SCENARIOS["text-8"].calls(), connections, seconds, first)
    errors = len(load.answers) - len(load.good)
    return Texts(
        requests=len(load.answers),
        rate=load.goodput(),
        p50=load.percentile(0.5),
        p99=load.percentile(0.99),
        errors=errors,
        client_cpu=load.client_cpu,
        generator="Python threads",
    )

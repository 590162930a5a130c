"""The metrics of Triton servers. `endpoint` is host:port, as the operator or DNS gives it.

A server's state is read from it at each scrape, so that a call counts nothing but its seconds. The series of a
server end when it goes away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TOWERS = ("image", "text")


class ServerState(NamedTuple):
    """Of one server of one model: whether it serves the model, its unanswered rows, and the seconds that it counts.

    `phases`: (Triton's model, phase) -> seconds since the server started.
    """

    up: bool
    rows: int
    phases: Mapping[tuple[str, str], float]


class TritonMetrics(Collector):
    """The metrics of the servers of all models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._servers: dict[tuple[str, str], Callable[[], ServerState]] = {}  # by endpoint and model
        name, said = (
            "clipserve_triton_endpoint_seconds",
            "Duration of a call that a Triton server has answered.",
        )
        self._seconds = Histogram(name, said, ("endpoint", "tower"), registry=registry, buckets=SECONDS)
        reasons = ("unavailable", "not_found", "silent", "internal")
        said = f"Calls retried on another Triton server, by the failure of the first: {', '.join(reasons)}."
        retries = Counter("clipserve_triton_retries_total", said, ("reason",), registry=registry)
        self.retries = retries.labels
        for reason in reasons:
            self.retries(reason)
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The present state of all servers."""
        said = "Whether a Triton server serves the model: it said so, and its last probe has not failed."
        up = GaugeMetricFamily("clipserve_triton_endpoint_up", said, labels=("endpoint", "model"))
        said = "Rows sent to a Triton server and not yet answered."
        rows = GaugeMetricFamily("clipserve_triton_endpoint_rows", said, labels=("endpoint",))
        said = "Time that a Triton server reports for its queue and for computing, summed since it started. "
        said += "clipserve_batch_seconds minus both is the network's share."
        labels = ("endpoint", "model", "phase")
        phases = CounterMetricFamily("clipserve_triton_phase_seconds", said, labels=labels)
        rows_of = defaultdict[str, int](int)
        for (endpoint, model), read in list(self._servers.items()):  # another thread adds and removes
            state = read()
            rows_of[endpoint] += state.rows
            up.add_metric((endpoint, model), state.up)
            for (triton_model, phase), seconds in list(state.phases.items()):
                phases.add_metric((endpoint, triton_model, phase), seconds)
        for endpoint, count in rows_of.items():
            rows.add_metric((endpoint,), count)
        yield from (up, rows, phases)

    def add(self, endpoint: str, model: str, state: Callable[[], ServerState]) -> Mapping[str, Histogram]:
        """Add a server of one model; return tower -> the histogram of the durations of its calls."""
        self._servers[endpoint, model] = state
        # A rate needs the 0 before the first. A late answer that asked for a series would bring back a removed one.
        return {tower: self._seconds.labels(endpoint, tower) for tower in _TOWERS}

    def remove(self, endpoint: str, model: str) -> None:
        """End the series of a server, which is no longer used."""
        del self._servers[endpoint, model]
        if all(other != endpoint for other, _ in self._servers):
            for tower in _TOWERS:
                self._seconds.remove(endpoint, tower)

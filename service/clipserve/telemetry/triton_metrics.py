"""The metrics of Triton servers. `endpoint` is host:port, as the operator or DNS gives it.

The series of a server begin with 0 when it is found, because a rate needs that, and end when it goes away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TOWERS = ("image", "text")


class OfServer(NamedTuple):
    """Of one server: its unanswered rows, and by tower the durations of its calls.

    Each is asked for once: a late answer that asked again would bring back a series that has ended.
    """

    rows: Gauge
    seconds: Mapping[str, Histogram]


class TritonMetrics:
    """The metrics of the servers of all models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._models = defaultdict[str, int](int)  # of each endpoint
        said = "Whether a Triton server serves the model: it said so, and its last probe has not failed."
        self._up = Gauge("clipserve_triton_endpoint_up", said, ("endpoint", "model"), registry=registry)
        said = "Rows sent to a Triton server and not yet answered."
        self._rows = Gauge("clipserve_triton_endpoint_rows", said, ("endpoint",), registry=registry)
        name, said = (
            "clipserve_triton_endpoint_seconds",
            "Duration of a call that a Triton server has answered.",
        )
        self._seconds = Histogram(name, said, ("endpoint", "tower"), registry=registry, buckets=SECONDS)
        reasons = ("unavailable", "not_found", "internal")
        said = f"Calls retried on another Triton server, by the failure of the first: {', '.join(reasons)}."
        retries = Counter("clipserve_triton_retries_total", said, ("reason",), registry=registry)
        self.retries = retries.labels
        for reason in reasons:
            self.retries(reason)

    def add(self, endpoint: str, model: str, up: Callable[[], bool]) -> OfServer:
        """Add a server of one model, which is asked at each scrape whether it is up."""
        self._models[endpoint] += 1
        self._up.labels(endpoint, model).set_function(up)
        seconds = {tower: self._seconds.labels(endpoint, tower) for tower in _TOWERS}
        return OfServer(self._rows.labels(endpoint), seconds)

    def remove(self, endpoint: str, model: str) -> None:
        """End the series of a server, which is no longer used."""
        self._up.remove(endpoint, model)
        self._models[endpoint] -= 1
        if not self._models[endpoint]:
            self._rows.remove(endpoint)
            for tower in _TOWERS:
                self._seconds.remove(endpoint, tower)

"""The metrics of Triton servers. `endpoint` is host:port, as the operator or DNS gives it.

A server's state is read from it at each scrape, so that a call counts nothing but its seconds. The series of a
server end when it goes away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily

from clipserve.telemetry.instruments import Histogram, Instruments, Samples


class ServerState(NamedTuple):
    """Of one server of one model.

    Attributes:
        up, rows, shared_bytes: whether it serves the model, its unanswered rows, and the memory shared with it.
        phases: (Triton's model, phase) -> seconds that the server has counted since it started.
    """

    up: bool
    rows: int
    shared_bytes: int
    phases: Mapping[tuple[str, str], float]


class TritonMetrics:
    """The metrics of the servers of all models."""

    def __init__(self, make: Instruments) -> None:
        self._servers: dict[tuple[str, str], Callable[[], ServerState]] = {}  # by endpoint and model
        self._seconds = make.histogram(
            "triton_endpoint_seconds",
            "Duration of a call that a Triton server has answered.",
            "endpoint",
            "tower",
        )
        self.retries = make.counter(
            "triton_retries_total",
            "Calls retried on another Triton server, by the failure of the first: unavailable, not_found, silent, "
            "internal.",
            "reason",
        )
        for reason in ("unavailable", "not_found", "silent", "internal"):
            self.retries(reason)
        make.read(
            "triton_endpoint_up",
            "Whether a Triton server serves the model: it said so when last asked, and has passed its last trial.",
            ["endpoint", "model"],
            lambda: [(server, state.up) for server, state in self._states()],
        )
        make.read(
            "triton_endpoint_rows",
            "Rows sent to a Triton server and not yet answered.",
            ["endpoint"],
            self._rows,
        )
        make.read(
            "triton_shared_memory_bytes",
            "Memory shared with a Triton server, for the pixels of calls; 0: they are sent over gRPC.",
            ["endpoint", "model"],
            lambda: [(server, state.shared_bytes) for server, state in self._states()],
        )
        make.read(
            "triton_phase_seconds",
            "Time that a Triton server reports for its queue and for computing, summed since it started. "
            "clipserve_batch_seconds minus both is the network's share.",
            ["endpoint", "model", "phase"],
            self._phases,
            CounterMetricFamily,
        )

    def add(self, endpoint: str, model: str, state: Callable[[], ServerState]) -> Mapping[str, Histogram]:
        """Add a server of one model; return tower -> the histogram of the durations of its calls."""
        self._servers[endpoint, model] = state
        # A rate needs the 0 before the first. A late answer that asked for a series would bring back a removed one.
        return {tower: self._seconds.of(endpoint, tower) for tower in ("image", "text")}

    def remove(self, endpoint: str, model: str) -> None:
        """End the series of a server, which is no longer used."""
        del self._servers[endpoint, model]
        if all(other != endpoint for other, _ in self._servers):
            self._seconds.remove(endpoint)

    def _states(self) -> list[tuple[tuple[str, str], ServerState]]:
        # A copy, because another thread adds and removes meanwhile.
        return [(server, state()) for server, state in list(self._servers.items())]

    def _rows(self) -> Samples:
        sums: Counter[str] = Counter()
        for (endpoint, _), state in self._states():
            sums[endpoint] += state.rows
        return [((endpoint,), rows) for endpoint, rows in sums.items()]

    def _phases(self) -> Samples:
        for (endpoint, _), state in self._states():
            for (model, phase), seconds in list(state.phases.items()):
                yield (endpoint, model, phase), seconds

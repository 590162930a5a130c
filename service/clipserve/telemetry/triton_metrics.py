"""The metrics of Triton servers. `endpoint` is host:port, as the operator or DNS gives it.

A server's state is read from it at each scrape, so that a call counts nothing but its seconds. The series of a
server end when it goes away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily

from clipserve.telemetry.instruments import Histogram, Instruments, Samples


class TritonServer(Protocol):
    """One server of one model.

    Attributes:
        up, rows, shared_bytes: whether it serves the model, its unanswered rows, and the memory shared with it.
        phases: (Triton's model, phase) -> seconds that the server has counted since it started.
    """

    @property
    def endpoint(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def up(self) -> bool: ...
    @property
    def rows(self) -> int: ...
    @property
    def shared_bytes(self) -> int: ...
    @property
    def phases(self) -> Mapping[tuple[str, str], float]: ...


class TritonMetrics:
    """The metrics of the servers of all models."""

    def __init__(self, make: Instruments) -> None:
        self._servers: list[TritonServer] = []
        self._seconds = make.histogram(
            "triton_endpoint_seconds",
            "Duration of a call that a Triton server has answered.",
            "endpoint",
            "tower",
        )
        self.retries = make.counter(
            "triton_retries_total",
            "Calls retried on another Triton server, by the failure of the first: unavailable, not_found, silent.",
            "reason",
        )
        for reason in ("unavailable", "not_found", "silent"):
            self.retries(reason)
        make.read(
            "triton_endpoint_up",
            "Whether a Triton server serves the model, as it said when last asked.",
            ["endpoint", "model"],
            self._each(lambda server: [((server.endpoint, server.model), server.up)]),
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
            self._each(lambda server: [((server.endpoint, server.model), server.shared_bytes)]),
        )
        make.read(
            "triton_phase_seconds",
            "Time that a Triton server reports for its queue and for computing, summed since it started. "
            "clipserve_batch_seconds minus both is the network's share.",
            ["endpoint", "model", "phase"],
            self._each(
                lambda server: [((server.endpoint, *key), s) for key, s in list(server.phases.items())]
            ),
            CounterMetricFamily,
        )

    def add(self, server: TritonServer) -> Mapping[str, Histogram]:
        """Add a server; return tower -> the histogram of the durations of its calls."""
        self._servers.append(server)
        # A rate needs the 0 before the first. A late answer that asked for a series would bring back a removed one.
        return {tower: self._seconds.of(server.endpoint, tower) for tower in ("image", "text")}

    def remove(self, gone: TritonServer) -> None:
        """End the series of a server, which is no longer used."""
        self._servers.remove(gone)
        if all(other.endpoint != gone.endpoint for other in self._servers):
            self._seconds.remove(gone.endpoint)

    # Copies, because another thread adds and removes meanwhile.

    def _each(self, samples: Callable[[TritonServer], Samples]) -> Callable[[], Samples]:
        return lambda: [sample for server in list(self._servers) for sample in samples(server)]

    def _rows(self) -> Samples:
        sums: Counter[str] = Counter()
        for server in list(self._servers):
            sums[server.endpoint] += server.rows
        return [((endpoint,), rows) for endpoint, rows in sums.items()]

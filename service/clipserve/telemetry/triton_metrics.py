"""The metrics of Triton servers. `endpoint` is host:port, as the operator or DNS gives it.

Gauges are read at each scrape, so that a call counts nothing but its seconds. The series of a server end when it
goes away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily

from clipserve.telemetry.instruments import Instruments, Samples


class TritonMetrics:
    """The metrics of the servers of all models. `add` a server, and `close` the result when it goes away."""

    def __init__(self, make: Instruments) -> None:
        self._endpoints: list[EndpointMetrics] = []
        self.seconds = make.plain_histogram(
            "triton_endpoint_seconds",
            "Duration of a call that a Triton server has answered.",
            ["endpoint", "tower"],
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
            lambda: [((each.endpoint, each.model), each.up()) for each in list(self._endpoints)],
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
            lambda: [((each.endpoint, each.model), each.shared_bytes()) for each in list(self._endpoints)],
        )
        make.read(
            "triton_phase_seconds",
            "Time that a Triton server reports for its queue and for computing, summed since it started. "
            "clipserve_batch_seconds minus both is the network's share.",
            ["endpoint", "model", "phase"],
            self._phases,
            CounterMetricFamily,
        )

    def add(self, endpoint: str, model: str, **read: Callable[[], int]) -> EndpointMetrics:
        """Add one server of one model. `read`: see `EndpointMetrics`."""
        made = EndpointMetrics(self, endpoint, model, **read)
        self._endpoints.append(made)
        return made

    def remove(self, gone: EndpointMetrics) -> None:
        self._endpoints.remove(gone)
        if all(other.endpoint != gone.endpoint for other in self._endpoints):
            self.seconds.remove_by_labels({"endpoint": gone.endpoint})

    # Copies, because another thread adds and closes meanwhile.

    def _rows(self) -> Samples:
        sums: Counter[str] = Counter()
        for each in list(self._endpoints):
            sums[each.endpoint] += each.rows()
        return [((endpoint,), rows) for endpoint, rows in sums.items()]

    def _phases(self) -> Samples:
        for each in list(self._endpoints):
            for (model, phase), seconds in list(each.phases.items()):
                yield (each.endpoint, model, phase), seconds


@dataclass(eq=False)
class EndpointMetrics:
    """The metrics of one server for one model.

    Attributes:
        up, rows, shared_bytes: whether it serves the model, its unanswered rows, and the memory shared with it.
        phases: (Triton's model, phase) -> seconds that the server has counted since it started.
    """

    _all: TritonMetrics
    endpoint: str
    model: str
    up: Callable[[], int]
    rows: Callable[[], int]
    shared_bytes: Callable[[], int]
    phases: dict[tuple[str, str], float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # A rate needs the 0 before the first. A late answer that asked for a series would bring back a removed one.
        self._seconds = {tower: self._all.seconds.labels(self.endpoint, tower) for tower in ("image", "text")}

    def answered(self, tower: str, seconds: float) -> None:
        self._seconds[tower].observe(seconds)

    def close(self) -> None:
        """End the series: the gateway no longer uses the server."""
        self._all.remove(self)

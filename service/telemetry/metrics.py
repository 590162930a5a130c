"""The metrics for Prometheus. Label values are fixed words of this program, never a caller's text."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service.telemetry.log import lines_dropped
from service.telemetry.request import add_stage_seconds
from service.telemetry.triton_metrics import TritonMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BUILD_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One registry a service, so that two services can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "clipserve_requests_total",
            "Requests answered, by endpoint and status or error code.",
            "endpoint",
            "outcome",
        )
        self._request_seconds = self._histogram(
            "clipserve_request_seconds", "From the first byte read to the answer.", "endpoint", _SECONDS
        )
        self._stage_seconds = self._histogram(
            "clipserve_stage_seconds",
            "Time in one stage of a request: decode, tokenize, encode_image, encode_text.",
            "stage",
            _SECONDS,
        )
        self._batch_rows = self._histogram(
            "clipserve_batch_rows", "Rows in one call of an encoder.", "tower", _ROWS
        )
        self._batch_seconds = self._histogram(
            "clipserve_batch_seconds", "Duration of one call of an encoder.", "tower", _SECONDS
        )
        self._cache = self._counter(
            "clipserve_cache_total",
            "Look-ups in the caches of classifiers, of label embeddings and of image vectors.",
            "cache",
            "outcome",
        )
        self._decoders_replaced = self._counter(
            "clipserve_decoders_replaced_total",
            "Processes that decode images and were replaced, because they died or an image took too long.",
            "reason",
        )
        self._redis_failures = Counter(
            "clipserve_redis_failures_total",
            "Questions that Redis did not answer; for two seconds after each, this process counts rates alone.",
            registry=self.registry,
        )
        self._label_sets = Gauge(
            "clipserve_label_sets",
            "Label sets known here, by state: ready, building (an older version may be served), failed.",
            ["state"],
            registry=self.registry,
        )
        self._label_set_builds = self._counter(
            "clipserve_label_set_builds_total", "Builds of label sets that have ended, by outcome.", "outcome"
        )
        self._label_set_build_seconds = Histogram(
            "clipserve_label_set_build_seconds",
            "Duration of a build that has succeeded.",
            buckets=_BUILD_SECONDS,
            registry=self.registry,
        )
        self._label_sets_used = Counter(
            "clipserve_label_sets_used_total",
            "Classifications by a label set: its labels were encoded already.",
            registry=self.registry,
        )
        self.triton = TritonMetrics(self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLines())
        self.rows_in_flight = Gauge(
            "clipserve_rows_in_flight",
            "Images and texts admitted and not yet answered.",
            ["tower"],
            registry=self.registry,
        )

    # `labels` takes a lock and checks its arguments each time, most of what counting costs: hence the cache.

    def _counter(self, name: str, help_text: str, *labels: str) -> Callable[..., Counter]:
        counter = Counter(name, help_text, labels, registry=self.registry)
        return functools.cache(counter.labels)

    def _histogram(
        self, name: str, help_text: str, label: str, buckets: tuple[float, ...]
    ) -> Callable[..., Histogram]:
        histogram = Histogram(name, help_text, [label], buckets=buckets, registry=self.registry)
        return functools.cache(histogram.labels)

    def watch_decoding(
        self, *, bytes_taken: Callable[[], float], images_waiting: Callable[[], float]
    ) -> None:
        """Gauges that are read when somebody asks."""
        for name, help_text, value in (
            (
                "clipserve_decode_bytes",
                "Memory that images being decoded take, by their headers.",
                bytes_taken,
            ),
            ("clipserve_decode_waiting", "Images that wait to be decoded.", images_waiting),
        ):
            Gauge(name, help_text, registry=self.registry).set_function(value)

    def request(self, endpoint: str, outcome: str, seconds: float) -> None:
        self._requests(endpoint, outcome).inc()
        self._request_seconds(endpoint).observe(seconds)

    def batch(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows(tower).observe(rows)
        self._batch_seconds(tower).observe(seconds)

    def cache(self, cache: str, *, hit: bool) -> None:
        self._cache(cache, "hit" if hit else "miss").inc()

    def decoder_replaced(self, reason: str) -> None:
        """`reason`: died, or late."""
        self._decoders_replaced(reason).inc()

    def redis_failed(self) -> None:
        self._redis_failures.inc()

    def label_sets(self, by_state: Mapping[str, int]) -> None:
        for state, count in by_state.items():
            self._label_sets.labels(state).set(count)

    def label_set_built(self, outcome: str, seconds: float) -> None:
        """`outcome`: ok, or the code of an error."""
        self._label_set_builds(outcome).inc()
        if outcome == "ok":
            self._label_set_build_seconds.observe(seconds)

    def label_sets_used(self, count: int) -> None:
        self._label_sets_used.inc(count)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, for Prometheus and for the requests that the block works for."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self._stage_seconds(name).observe(seconds)
            add_stage_seconds(name, seconds)


class _DroppedLines(Collector):
    """What the log counts, which is the process's and not one service's."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "clipserve_log_lines_dropped",
            "Log lines that standard error did not take: it is full, closed, or nobody reads it.",
            lines_dropped(),
        )

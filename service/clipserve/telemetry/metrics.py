"""The metrics for Prometheus. Label values are fixed words of this program, never a caller's text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily

from clipserve.errors import FAILURES, REFUSALS
from clipserve.telemetry.instruments import Instruments, Samples
from clipserve.telemetry.label_set_metrics import LabelSetMetrics
from clipserve.telemetry.log import lines_dropped
from clipserve.telemetry.request import RequestContext, add_stage_seconds, current
from clipserve.telemetry.spans import Span, Tracing
from clipserve.telemetry.state_metrics import StateMetrics
from clipserve.telemetry.tracing import begin
from clipserve.telemetry.triton_metrics import TritonMetrics

CLIENT_GONE = "client_gone"  # the outcome of a request whose client has left
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One registry a service, so that two services can live in one process.

    Attributes:
        label_sets: those of label sets.
        state: what the service is, and whether it serves.
        triton: those of Triton servers.
        tracing: which requests are traced; none, unless somebody sets it.
    """

    def __init__(self) -> None:
        self.tracing = Tracing()
        self.registry = CollectorRegistry()
        make = self._make = Instruments(self.registry)
        self.label_sets = LabelSetMetrics(make)
        self.state = StateMetrics(make)
        self.triton = TritonMetrics(make)
        self._about_requests(make)
        self._about_encoders(make)
        self._cache = make.counter(
            "cache_total",
            "Look-ups in the caches of classifiers, of label embeddings and of image vectors.",
            "cache",
            "outcome",
        )
        self._decoders_replaced = make.counter(
            "decoders_replaced_total",
            "Processes that decode images and were replaced, because they died or an image took too long.",
            "reason",
        )
        self._redis_failures = make.count(
            "redis_failures_total",
            "Questions that Redis did not answer; for two seconds after each, this process counts rates alone.",
        )
        self._spans = make.counter(
            "spans_total",
            "Spans of traces: sent; failed: the collector did not take them; left_out: of a request with too many.",
            "outcome",
        )
        ProcessCollector(registry=self.registry)
        make.read(
            "log_lines_dropped",
            "Log lines that standard error did not take: it is full, closed, or nobody reads it.",
            (),
            lambda: [((), lines_dropped())],
            CounterMetricFamily,
        )

    def _about_requests(self, make: Instruments) -> None:
        self._requests = make.counter(
            "requests_total",
            "Requests answered, by endpoint and status or error code.",
            "endpoint",
            "outcome",
        )
        self._request_seconds = make.histogram(
            "request_seconds", "From the first byte read to the answer.", "endpoint"
        )
        self._refused = make.counter(
            "refused_total",
            "Requests and connections refused for now, by the code of the error: they may be tried again.",
            "reason",
        )
        self._cancelled = make.counter(
            "cancelled_total", "Requests whose client left before the answer.", "endpoint"
        )
        self._stage_seconds = make.histogram(
            "stage_seconds",
            "Time in one stage of a request: decode, tokenize, encode_image, encode_text.",
            "stage",
        )

    def _about_encoders(self, make: Instruments) -> None:
        self._batch_rows = make.histogram("batch_rows", "Rows in one call of an encoder.", "tower", _ROWS)
        self._batch_seconds = make.histogram("batch_seconds", "Duration of one call of an encoder.", "tower")
        self._queue_seconds = make.histogram(
            "queue_seconds",
            "From the submission of rows to the start of their batch; once for each request in a batch.",
            "tower",
        )
        self._workers = make.gauge("workers", "Batches that can run at once.", "tower")
        self.rows_in_flight = make.gauge(
            "rows_in_flight", "Images and texts admitted and not yet answered.", "tower"
        )
        self._work: list[Callable[[], Mapping[str, float]]] = []
        make.read(
            "work_ahead_seconds",
            "Estimated time until all rows admitted now are answered.",
            ["tower"],
            self._work_ahead,
        )

    def _work_ahead(self) -> Samples:
        ahead: dict[str, float] = {}
        for seconds_ahead in self._work:
            for tower, seconds in seconds_ahead().items():
                ahead[tower] = ahead.get(tower, 0.0) + seconds
        return [((tower,), seconds) for tower, seconds in ahead.items()]

    def watch_decoding(
        self, *, bytes_taken: Callable[[], float], images_waiting: Callable[[], float]
    ) -> None:
        """Gauges that are read when somebody asks."""
        taken = "Memory that images being decoded take, by their headers."
        self._make.gauge("decode_bytes", taken).set_function(bytes_taken)
        self._make.gauge("decode_waiting", "Images that wait to be decoded.").set_function(images_waiting)

    def request(self, endpoint: str, outcome: str, seconds: float) -> None:
        """`outcome`: a status, or a code of `clipserve.errors`."""
        context = current()
        span = context.span if isinstance(context, RequestContext) else None
        self._requests(endpoint, outcome).inc()
        self._request_seconds(endpoint).observe(seconds, _exemplar(span))
        if outcome in REFUSALS:
            self._refused(outcome).inc()
        elif outcome == CLIENT_GONE:
            self._cancelled(endpoint).inc()
        if span and isinstance(context, RequestContext):
            if outcome in FAILURES:
                span.fail(outcome)
            span.end_request(endpoint, {"endpoint": endpoint, "outcome": outcome, **context.described})

    def batch(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows(tower).observe(rows)
        self._batch_seconds(tower).observe(seconds)

    def queued(self, tower: str, seconds: float) -> None:
        self._queue_seconds(tower).observe(seconds)

    def add_workers(self, tower: str, count: int) -> None:
        """So many more batches can run at once; of a negative number, fewer."""
        self._workers.labels(tower).inc(count)

    def watch_work(self, seconds_ahead: Callable[[], Mapping[str, float]]) -> None:
        """`seconds_ahead` gives tower -> seconds when somebody asks, in that thread."""
        self._work.append(seconds_ahead)

    def cache(self, cache: str, *, hit: bool) -> None:
        self._cache(cache, "hit" if hit else "miss").inc()

    def decoder_replaced(self, reason: str) -> None:
        """`reason`: died, or late."""
        self._decoders_replaced(reason).inc()

    def spans(self, outcome: str, count: int) -> None:
        """`outcome`: sent, failed or left_out. It may be called in any thread."""
        self._spans(outcome).inc(count)

    def redis_failed(self) -> None:
        self._redis_failures.inc()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, for Prometheus, for the requests that the block works for, and for their traces."""
        work = begin(name)
        started = time.perf_counter()
        try:
            with work:
                yield
        finally:
            seconds = time.perf_counter() - started
            self._stage_seconds(name).observe(seconds, _exemplar(work.spans[0]) if work.spans else None)
            add_stage_seconds(name, seconds)


def _exemplar(span: Span | None) -> dict[str, str] | None:
    """What leads from a histogram in Prometheus to a trace."""
    return {"trace_id": span.trace_id} if span else None

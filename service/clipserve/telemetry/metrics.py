"""The metrics for Prometheus. Label values are words of this program or keys' names, never a caller's text."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from opentelemetry.trace import Span, StatusCode, format_trace_id
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from clipserve.errors import FAILURES, REFUSALS
from clipserve.telemetry import tracing
from clipserve.telemetry.log import standard_error
from clipserve.telemetry.request import RequestContext, add_stage, current
from clipserve.telemetry.triton_metrics import SECONDS, TritonMetrics
from clipserve.telemetry.versions import tell_versions

CLIENT_GONE = "client_gone"  # the outcome of a request whose client has left
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_BUILD_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0)


M = TypeVar("M", Counter, Gauge, Histogram)


class ServedModelInfo(NamedTuple):
    """The labels of `model_info`, in their order."""

    model: str
    fingerprint: str
    engine: str
    precision: str


class Metrics:
    """The metrics of one service in a registry of its own, so that two services can run in one process.

    A metric without a method here is used directly: `metrics.ready.set_function(...)`. One with labels is a
    function of their values, which looks each child up once: `metrics.cache("images", "hit").inc()`.

    Attributes:
        triton: the metrics of Triton servers.
        rows_in_flight, work_ahead: functions called at each scrape, in its thread, that return tower -> rows, or
            seconds; added up.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.triton = TritonMetrics(self.registry)
        self._about_the_service()
        self._about_requests()
        self._about_encoders()
        self._about_label_sets()

    def _metric(self, kind: type[M], name: str, meaning: str, *labels: str, **options: Any) -> M:
        if kind is Histogram:
            options.setdefault("buckets", SECONDS)
        return kind(name, meaning, labels, namespace="clipserve", registry=self.registry, **options)

    def _labelled(
        self, kind: type[M], name: str, meaning: str, *labels: str, **options: Any
    ) -> Callable[..., M]:
        return functools.cache(self._metric(kind, name, meaning, *labels, **options).labels)

    def _about_the_service(self) -> None:
        self.ready = self._metric(Gauge, "ready", "1 while /readyz says ready, else 0.")
        self.draining = self._metric(Gauge, "draining", "1 after the signal to end, else 0.")
        tell_versions(self.registry)
        self.model_info = self._metric(
            Gauge,
            "model_info",
            "Always 1: a model that has started, with its fingerprint, engine and precision.",
            *ServedModelInfo._fields,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLines())
        self.redis_failures = self._metric(
            Counter,
            "redis_failures_total",
            "Calls that Redis did not answer. For two seconds after each, this process counts rates by itself.",
        )

    def _about_requests(self) -> None:
        self._requests = self._labelled(
            Counter, "requests_total", "Requests answered, by endpoint and outcome.", "endpoint", "outcome"
        )
        self._request_seconds = self._labelled(
            Histogram, "request_seconds", "Time from the first byte to the answer, of no refusal.", "endpoint"
        )
        self._refused = self._labelled(
            Counter, "refused_total", "Requests and connections refused for now, by error code.", "reason"
        )
        self._cancelled = self._labelled(
            Counter, "cancelled_total", "Requests whose client left before the answer.", "endpoint"
        )
        self._key_rows = self._labelled(
            Counter, "key_rows_total", "Images and texts charged to a key, by the key's name.", "key"
        )
        self._key_bytes = self._labelled(
            Counter, "key_bytes_total", "Bytes of bodies charged to a key, by the key's name.", "key"
        )
        self._stage_seconds = self._labelled(
            Histogram, "stage_seconds", "Time in decode, tokenize, encode_image, encode_text, load.", "stage"
        )
        self._spans = self._labelled(
            Counter, "spans_total", "Spans of traces: sent, or failed to be sent.", "outcome"
        )

    def _about_encoders(self) -> None:
        self._batch_rows = self._labelled(
            Histogram, "batch_rows", "Rows in one call of an encoder.", "tower", buckets=_ROWS
        )
        self._batch_seconds = self._labelled(
            Histogram, "batch_seconds", "Duration of one call of an encoder.", "tower"
        )
        self.queue_seconds = self._labelled(
            Histogram, "queue_seconds", "Time from the submission of rows to their batch.", "tower"
        )
        self.workers = self._metric(Gauge, "workers", "Batches that can run at once.", "tower")
        in_flight = self._metric(
            Gauge, "rows_in_flight", "Images and texts admitted and not yet answered.", "tower"
        )
        ahead = "Estimated time until all rows admitted now are answered."
        self.rows_in_flight = _added_up(in_flight)
        self.work_ahead = _added_up(self._metric(Gauge, "work_ahead_seconds", ahead, "tower"))
        self.decode_bytes = self._metric(
            Gauge, "decode_bytes", "Memory of the images that are being decoded, by their headers."
        )
        self.decode_waiting = self._metric(Gauge, "decode_waiting", "Images that wait to be decoded.")
        self.decoders_replaced = self._labelled(
            Counter,
            "decoders_replaced_total",
            "Processes that decode images and were replaced, because they died or an image took too long.",
            "reason",
        )
        self.images_fetched = self._labelled(
            Counter, "images_fetched_total", "Images given by URL, by the outcome of the fetch.", "outcome"
        )
        self.cache = self._labelled(
            Counter, "cache_total", "Look-ups in caches, by outcome.", "cache", "outcome"
        )

    def _about_label_sets(self) -> None:
        self.label_sets = self._metric(
            Gauge,
            "label_sets",
            "Label sets known here, by state: ready, building (an older version may be served), failed.",
            "state",
        )
        self._builds = self._labelled(
            Counter, "label_set_builds_total", "Builds of label sets that have ended, by outcome.", "outcome"
        )
        self._build_seconds = self._metric(
            Histogram,
            "label_set_build_seconds",
            "Duration of a build that has succeeded.",
            buckets=_BUILD_SECONDS,
        )
        self.label_sets_used = self._metric(
            Counter,
            "label_sets_used_total",
            "Classifications by a label set, whose labels were encoded before.",
        )

    def request(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count an answered request. `outcome`: a status, or a code of `clipserve.errors`."""
        context = current()
        span = context.span if isinstance(context, RequestContext) else None
        self._requests(endpoint, outcome).inc()
        if outcome in REFUSALS:  # at once: they would make an overloaded service look fast
            self._refused(outcome).inc()
        else:
            self._request_seconds(endpoint).observe(seconds, _exemplar(span))
        if outcome == CLIENT_GONE:
            self._cancelled(endpoint).inc()
        if span and isinstance(context, RequestContext):
            if outcome in FAILURES:
                span.set_status(StatusCode.ERROR, outcome)
            span.update_name(endpoint)
            described = {"endpoint": endpoint, "outcome": outcome, **context.described}
            span.set_attributes(tracing.named(described))
            span.end()

    def key_used(self, name: str, rows: int, size: int) -> None:
        """Count rows and bytes of the key of this name."""
        self._key_rows(name).inc(rows)
        self._key_bytes(name).inc(size)

    def batch(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows(tower).observe(rows)
        self._batch_seconds(tower).observe(seconds)

    def label_set_built(self, outcome: str, seconds: float) -> None:
        """Count a build that ended. `outcome`: ok, or the code of an error."""
        self._builds(outcome).inc()
        if outcome == "ok":
            self._build_seconds.observe(seconds)

    def spans(self, outcome: str, count: int) -> None:
        """Count spans. `outcome`: sent or failed. Thread-safe."""
        self._spans(outcome).inc(count)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a block as a stage of the current requests: for Prometheus, Server-Timing and traces."""
        return _Stage(name, self._stage_seconds(name))


class _Stage:
    """Times one block. It runs several times in each request, so it is no generator, which takes thrice as long."""

    def __init__(self, name: str, seconds: Histogram) -> None:
        self._name, self._seconds = name, seconds
        self._span = tracing.span(name)

    def __enter__(self) -> None:
        self._made = self._span.__enter__()
        self._started = time.perf_counter()

    def __exit__(self, *error: Any) -> None:
        ended = time.perf_counter()
        self._seconds.observe(ended - self._started, _exemplar(self._made))
        add_stage(self._name, self._started, ended)
        self._span.__exit__(*error)


class _DroppedLines(Collector):
    """The log is the process's, so its lines are not counted in the registry of one service."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        meaning = "Log lines that standard error did not take: it is full, closed, or nobody reads it."
        yield CounterMetricFamily("clipserve_log_lines_dropped", meaning, standard_error.dropped)


def _exemplar(span: Span | None) -> dict[str, str] | None:
    """The trace to which Prometheus links the bucket."""
    return {"trace_id": format_trace_id(span.get_span_context().trace_id)} if span else None


def _added_up(gauge: Gauge) -> list[Callable[[], Mapping[str, float]]]:
    """The functions whose values the gauge adds up, tower by tower; none yet."""
    functions: list[Callable[[], Mapping[str, float]]] = []

    def value(tower: str) -> float:
        return sum(by_tower()[tower] for by_tower in functions)

    for tower in ("image", "text"):
        gauge.labels(tower).set_function(functools.partial(value, tower))
    return functions

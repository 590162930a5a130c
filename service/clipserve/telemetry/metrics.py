"""The metrics for Prometheus. Label values are words of this program or keys' names, never a caller's text."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from opentelemetry.trace import StatusCode
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
    function of their values, which looks each child up once: `metrics.cache("image", "hit").inc()`.
    `rows_in_flight` and `work_ahead` are lists of functions of tower -> rows or seconds, called at each scrape.
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

    def _labelled(self, *definition: Any, **options: Any) -> Callable[..., Any]:
        return functools.cache(self._metric(*definition, **options).labels)

    def _about_the_service(self) -> None:
        gauge = partial(self._metric, Gauge)
        self.ready = gauge("ready", "1 while /readyz says ready, else 0.")
        self.draining = gauge("draining", "1 after the signal to end, else 0.")
        tell_versions(self.registry)
        said = "Always 1: a model that has started, with its fingerprint, engine and precision."
        self.model_info = gauge("model_info", said, *ServedModelInfo._fields)
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLines())
        said = "Calls that Redis did not answer. For two seconds after each, this process counts rates by itself."
        self.redis_failures = self._metric(Counter, "redis_failures_total", said)

    def _about_requests(self) -> None:
        counter, histogram = partial(self._labelled, Counter), partial(self._labelled, Histogram)
        self._requests = counter("requests_total", "Requests answered.", "endpoint", "outcome")
        said = "Time from the headers to the answer, of no refusal."
        self._request_seconds = histogram("request_seconds", said, "endpoint")
        self._refused = counter("refused_total", "Requests and connections refused for now.", "reason")
        self._cancelled = counter("cancelled_total", "Requests whose client left unanswered.", "endpoint")
        said = "Images and texts charged to a key."
        self._key_rows = self._metric(Counter, "key_rows_total", said, "key")
        self._key_bytes = self._metric(Counter, "key_bytes_total", "Bytes of bodies charged to a key.", "key")
        said = "Time in decode, tokenize, encode_image, encode_text, load."
        self._stage_seconds = histogram("stage_seconds", said, "stage")
        self._spans = counter("spans_total", "Spans of traces: sent, or failed to be sent.", "outcome")

    def _about_encoders(self) -> None:
        counter, histogram = partial(self._labelled, Counter), partial(self._labelled, Histogram)
        gauge = partial(self._metric, Gauge)
        said = "Rows in one call of an encoder."
        self._batch_rows = self._labelled(Histogram, "batch_rows", said, "tower", buckets=_ROWS)
        self._batch_seconds = histogram("batch_seconds", "Duration of one call of an encoder.", "tower")
        self.queue_seconds = histogram("queue_seconds", "Time that rows wait for their batch.", "tower")
        self.workers = gauge("workers", "Batches that can run at once.", "tower")
        said = "Images and texts admitted and not yet answered."
        self.rows_in_flight = _added_up(gauge("rows_in_flight", said, "tower"))
        said = "Estimated time until all rows admitted now are answered."
        self.work_ahead = _added_up(gauge("work_ahead_seconds", said, "tower"))
        self.decode_bytes = gauge("decode_bytes", "Memory of the images that are decoded, by their headers.")
        self.decode_waiting = gauge("decode_waiting", "Images that wait to be decoded.")
        said = "Processes that decode images and were replaced, because they died or an image took too long."
        self.decoders_replaced = counter("decoders_replaced_total", said, "reason")
        self.images_fetched = counter("images_fetched_total", "Images given by URL.", "outcome")
        self.cache = counter("cache_total", "Look-ups in caches, by outcome.", "cache", "outcome")

    def _about_label_sets(self) -> None:
        said = "Label sets known here whose build has failed; an older version may be served."
        self.label_sets_failed = self._metric(Gauge, "label_sets_failed", said)
        self._builds = self._labelled(Counter, "label_set_builds_total", "Builds that have ended.", "outcome")
        name, said = "label_set_build_seconds", "Duration of a build that has succeeded."
        self._build_seconds = self._metric(Histogram, name, said, buckets=_BUILD_SECONDS)
        said = "Classifications by a label set, whose labels were encoded before."
        self.label_sets_used = self._metric(Counter, "label_sets_used_total", said)

    def request(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count an answered request, and end its span. `outcome`: a status, or a code of `clipserve.errors`."""
        context = current()
        traced = context if isinstance(context, RequestContext) and context.span else None
        self._requests(endpoint, outcome).inc()
        if outcome in REFUSALS:  # at once: they would make an overloaded service look fast
            self._refused(outcome).inc()
        else:
            self._request_seconds(endpoint).observe(seconds)
        if outcome == CLIENT_GONE:
            self._cancelled(endpoint).inc()
        if traced and (span := traced.span):
            if outcome in FAILURES:
                span.set_status(StatusCode.ERROR, outcome)
            span.update_name(endpoint)
            said = dict[str, Any](endpoint=endpoint, outcome=outcome, request_id=traced.id, rows=traced.rows)
            span.set_attributes(tracing.named(said | ({"model": traced.model} if traced.model else {})))
            span.end()

    def key_used(self, name: str, rows: int, size: int) -> None:
        """Count rows and bytes of the key of this name."""
        self._key_rows.labels(name).inc(rows)
        self._key_bytes.labels(name).inc(size)

    def key_removed(self, name: str) -> None:
        """Tell no more of a key that is gone."""
        self._key_rows.remove(name)
        self._key_bytes.remove(name)

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
        """Time a block as a stage of the current requests: for Prometheus and Server-Timing."""
        return _Stage(name, self._stage_seconds(name))


class _Stage:
    """Times one block. It runs several times in each request, so it is no generator, which takes thrice as long."""

    def __init__(self, name: str, seconds: Histogram) -> None:
        self._name, self._seconds = name, seconds

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        ended = time.perf_counter()
        self._seconds.observe(ended - self._started)
        add_stage(self._name, self._started, ended)


class _DroppedLines(Collector):
    """The log is the process's, so its lines are not counted in the registry of one service."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        meaning = "Log lines that standard error did not take: it is full, closed, or nobody reads it."
        yield CounterMetricFamily("clipserve_log_lines_dropped", meaning, standard_error.dropped)


def _added_up(gauge: Gauge) -> list[Callable[[], Mapping[str, float]]]:
    """The functions whose values the gauge adds up, tower by tower; none yet."""
    functions: list[Callable[[], Mapping[str, float]]] = []

    def value(tower: str) -> float:
        return sum(each()[tower] for each in functions)

    for tower in ("image", "text"):
        gauge.labels(tower).set_function(partial(value, tower))
    return functions

"""The metrics for Prometheus. Label values are words of this program or keys' names, never a caller's text."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily

from clipserve.errors import FAILURES, REFUSALS
from clipserve.telemetry.instruments import Histogram, Instruments
from clipserve.telemetry.log import standard_error
from clipserve.telemetry.request import RequestContext, add_stage, current
from clipserve.telemetry.spans import Tracing
from clipserve.telemetry.tracing import Spans, begin, parents
from clipserve.telemetry.triton_metrics import TritonMetrics
from clipserve.telemetry.versions import tell_versions

CLIENT_GONE = "client_gone"  # the outcome of a request whose client has left
_OTHER_KEYS = "(others)"  # no key can have this name
_MAX_KEY_NAMES = 2_000  # of all files of keys that this process has read; a file has at most 1,000
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_BUILD_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0)


class ServedModelInfo(NamedTuple):
    """The labels of `model_info`, in their order."""

    model: str
    fingerprint: str
    engine: str
    precision: str


class Metrics:
    """The metrics of one service in a registry of its own, so that two services can run in one process.

    A metric without a method here is used directly: `metrics.ready.set_function(...)`,
    `metrics.cache("images", "hit").inc()`.

    Attributes:
        described: name, kind, labels and meaning of each.
        tracing: decides which requests are traced; none by default.
        triton: the metrics of Triton servers.
        rows_in_flight, work_ahead: functions called at each scrape, in its thread, that return tower -> rows, or
            seconds; added up.
    """

    def __init__(self) -> None:
        self.tracing = Tracing()
        self.registry = CollectorRegistry()
        make = Instruments(self.registry)
        self.described = make.described
        self.triton = TritonMetrics(make)
        self._about_the_service(make)
        self._about_requests(make)
        self._about_encoders(make)
        self._about_label_sets(make)

    def _about_the_service(self, make: Instruments) -> None:
        self.ready = make.gauge("ready", "1 while /readyz says ready, else 0.")
        self.draining = make.gauge("draining", "1 after the signal to end, else 0.")
        tell_versions(make)
        self.model_info = make.gauge(
            "model_info",
            "Always 1: a model that has started, with its fingerprint, engine and precision.",
            *ServedModelInfo._fields,
        )
        ProcessCollector(registry=self.registry)
        make.read(
            "log_lines_dropped",
            "Log lines that standard error did not take: it is full, closed, or nobody reads it.",
            (),
            lambda: [((), standard_error.dropped)],
            CounterMetricFamily,
        )
        self.redis_failures = make.plain_counter(
            "redis_failures_total",
            "Calls that Redis did not answer. For two seconds after each, this process counts rates by itself.",
        )

    def _about_requests(self, make: Instruments) -> None:
        self._requests = make.counter(
            "requests_total",
            "Requests answered, by endpoint and status or error code.",
            "endpoint",
            "outcome",
        )
        self._request_seconds = make.histogram(
            "request_seconds",
            "Time from the first byte read to the answer, without the requests that were refused for now.",
            "endpoint",
        )
        self._refused = make.counter(
            "refused_total",
            "Requests and connections refused for now, by error code: a retry may succeed.",
            "reason",
        )
        self._cancelled = make.counter(
            "cancelled_total", "Requests whose client left before the answer.", "endpoint"
        )
        self._key_names: set[str] = set()
        self._key_rows = make.counter(
            "key_rows_total", "Images and texts charged to a key, by the key's name.", "key"
        )
        self._key_bytes = make.counter(
            "key_bytes_total", "Bytes of bodies charged to a key, by the key's name.", "key"
        )
        self._stage_seconds = make.histogram(
            "stage_seconds",
            "Time in one stage of a request: decode, tokenize, encode_image, encode_text, load.",
            "stage",
        )
        self._spans = make.counter(
            "spans_total",
            "Spans of traces: sent; failed: the collector did not take them; left_out: their request had too many.",
            "outcome",
        )

    def _about_encoders(self, make: Instruments) -> None:
        self._batch_rows = make.histogram(
            "batch_rows", "Rows in one call of an encoder.", "tower", bounds=_ROWS
        )
        self._batch_seconds = make.histogram("batch_seconds", "Duration of one call of an encoder.", "tower")
        self.queue_seconds = make.histogram(
            "queue_seconds",
            "Time from the submission of rows to the start of their batch, for each request in it.",
            "tower",
        )
        self.workers = make.gauge("workers", "Batches that can run at once.", "tower")
        in_flight = make.gauge("rows_in_flight", "Images and texts admitted and not yet answered.", "tower")
        ahead = "Estimated time until all rows admitted now are answered."
        self.rows_in_flight = _added_up(in_flight)
        self.work_ahead = _added_up(make.gauge("work_ahead_seconds", ahead, "tower"))
        self.decode_bytes = make.gauge(
            "decode_bytes", "Memory of the images that are being decoded, by their headers."
        )
        self.decode_waiting = make.gauge("decode_waiting", "Images that wait to be decoded.")
        self.decoders_replaced = make.counter(
            "decoders_replaced_total",
            "Processes that decode images and were replaced, because they died or an image took too long.",
            "reason",
        )
        self.images_fetched = make.counter(
            "images_fetched_total", "Images given by URL, by the outcome of the fetch.", "outcome"
        )
        self.cache = make.counter(
            "cache_total",
            "Look-ups in the caches of classifiers, of label embeddings and of image vectors.",
            "cache",
            "outcome",
        )

    def _about_label_sets(self, make: Instruments) -> None:
        self.label_sets = make.gauge(
            "label_sets",
            "Label sets known here, by state: ready, building (an older version may be served), failed.",
            "state",
        )
        self._builds = make.counter(
            "label_set_builds_total", "Builds of label sets that have ended, by outcome.", "outcome"
        )
        self._build_seconds = make.histogram(
            "label_set_build_seconds", "Duration of a build that has succeeded.", bounds=_BUILD_SECONDS
        )
        self.label_sets_used = make.plain_counter(
            "label_sets_used_total", "Classifications by a label set, whose labels were encoded before."
        )

    def request(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count an answered request. `outcome`: a status, or a code of `clipserve.errors`."""
        context = current()
        span = context.span if isinstance(context, RequestContext) else None
        self._requests(endpoint, outcome).inc()
        if outcome in REFUSALS:  # at once: they would make an overloaded service look fast
            self._refused(outcome).inc()
        else:
            self._request_seconds.of(endpoint).observe(seconds, span.trace_id if span else None)
        if outcome == CLIENT_GONE:
            self._cancelled(endpoint).inc()
        if span and isinstance(context, RequestContext):
            if outcome in FAILURES:
                span.fail(outcome)
            span.end_request(endpoint, {"endpoint": endpoint, "outcome": outcome, **context.described})

    def key_used(self, name: str, rows: int, size: int) -> None:
        """Count rows and bytes of the key of this name. Names after the first 2,000 are counted together."""
        if name not in self._key_names:
            if len(self._key_names) < _MAX_KEY_NAMES:
                self._key_names.add(name)
            else:
                name = _OTHER_KEYS
        self._key_rows(name).inc(rows)
        self._key_bytes(name).inc(size)

    def batch(self, tower: str, rows: int, seconds: float) -> None:
        self._batch_rows.of(tower).observe(rows)
        self._batch_seconds.of(tower).observe(seconds)

    def label_set_built(self, outcome: str, seconds: float) -> None:
        """Count a build that ended. `outcome`: ok, or the code of an error."""
        self._builds(outcome).inc()
        if outcome == "ok":
            self._build_seconds.of().observe(seconds)

    def spans(self, outcome: str, count: int) -> None:
        """Count spans. `outcome`: sent, failed or left_out. Thread-safe."""
        self._spans(outcome).inc(count)

    def stage(self, name: str) -> _Stage:
        """Time a block as a stage of the current requests: for Prometheus, Server-Timing and traces."""
        return _Stage(name, self._stage_seconds.of(name), parents())


class _Stage:
    """A class because the generator of `contextmanager` costs as much as the rest of this."""

    def __init__(self, name: str, counted: Histogram, within: Spans) -> None:
        self._name = name
        self._counted = counted
        self._work = begin(name, within) if within else None

    def __enter__(self) -> None:
        if self._work:
            self._work.__enter__()
        self._started = time.perf_counter()

    def __exit__(self, *error: Any) -> None:
        ended, trace_id = time.perf_counter(), None
        if self._work:
            self._work.__exit__(*error)
            trace_id = self._work.spans[0].trace_id if self._work.spans else None
        self._counted.observe(ended - self._started, trace_id)
        add_stage(self._name, self._started, ended)


def _added_up(gauge: Gauge) -> list[Callable[[], Mapping[str, float]]]:
    """The functions whose values the gauge adds up, tower by tower; none yet."""
    functions: list[Callable[[], Mapping[str, float]]] = []

    def value(tower: str) -> float:
        return sum(by_tower()[tower] for by_tower in functions)

    for tower in ("image", "text"):
        gauge.labels(tower).set_function(functools.partial(value, tower))
    return functions

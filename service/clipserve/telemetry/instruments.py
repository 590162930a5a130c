"""Makes metrics that are cheap to count in, or that are read when Prometheus asks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Samples = Iterable[tuple[Sequence[str], float]]  # (label values, sample value)
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]
Metric = TypeVar("Metric", Counter, Gauge, Histogram)


class Described(NamedTuple):
    """A metric as docs/metrics.md has it. `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    labels: Sequence[str]
    meaning: str


class Instruments:
    """Makes prometheus_client's metrics in one registry, and describes them. Names get the prefix `clipserve_`.

    A metric's `labels` takes a lock and checks its arguments at each call, which is most of the cost of counting.
    So `counter` and `histogram` return a cached function of the label values. Labels have few values, so the
    caches stay small.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.described: list[Described] = []

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return self._make(Gauge, name, meaning, labels)

    def plain_counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return self._make(Counter, name, meaning, labels)

    def plain_histogram(
        self, name: str, meaning: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        return self._make(Histogram, name, meaning, labels, buckets=buckets)

    def counter(self, name: str, meaning: str, *labels: str) -> Callable[..., Counter]:
        return functools.cache(self.plain_counter(name, meaning, *labels).labels)

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Callable[..., Histogram]:
        return functools.cache(self.plain_histogram(name, meaning, *labels, buckets=buckets).labels)

    def read(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str],
        samples: Callable[[], Samples],
        family: Family = GaugeMetricFamily,
    ) -> None:
        """A metric whose values `samples` returns. It is called at each scrape, in another thread."""
        kind = "gauge" if family is GaugeMetricFamily else "counter"
        self._describe(name if kind == "gauge" else f"{name}_total", kind, labels, meaning)
        make = functools.partial(family, f"clipserve_{name}", meaning, labels=labels)
        self._registry.register(_Read(make, samples))

    def _make(
        self, kind: type[Metric], name: str, meaning: str, labels: Sequence[str], **options: Any
    ) -> Metric:
        self._describe(name, kind.__name__.lower(), labels, meaning)
        return kind(name, meaning, labels, namespace="clipserve", registry=self._registry, **options)

    def _describe(self, name: str, kind: str, labels: Sequence[str], meaning: str) -> None:
        self.described.append(Described(f"clipserve_{name}", kind, labels, meaning))


class _Read(Collector):
    def __init__(
        self, make: Callable[[], CounterMetricFamily | GaugeMetricFamily], samples: Callable[[], Samples]
    ) -> None:
        self._make = make
        self._samples = samples

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        family = self._make()
        for labels, value in self._samples():
            family.add_metric(labels, value)
        yield family

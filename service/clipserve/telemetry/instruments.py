"""Makes metrics that are cheap to count in, or that are read when Prometheus asks."""

from __future__ import annotations

import functools
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Samples = Iterable[tuple[Sequence[str], float]]  # (label values, sample value)
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Described(NamedTuple):
    """A metric as docs/metrics.md has it. `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    labels: Sequence[str]
    meaning: str


class Histogram:
    """One series. A request observes half a dozen of them; prometheus_client's takes five calls for each.

    It has no lock: observe in the thread of the event loop only.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: list[Exemplar | None] = [None] * len(self._counts)

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count a value. `trace_id`: of the trace to which Prometheus then links the bucket."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if trace_id:
            self._exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        bounds = map(floatToGoString, (*self._bounds, float("inf")))
        buckets: list[Any] = [*zip(bounds, accumulate(self._counts), self._exemplars, strict=True)]
        family.add_metric(labels, buckets, self._sum)


class Histograms(Collector):
    """The series of one metric. `of`: the series of label values; cached, because counting is often looking up."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._new_family = functools.partial(HistogramMetricFamily, name, meaning, labels=labels)
        self._bounds = bounds
        self._series: dict[tuple[str, ...], Histogram] = {}
        self.of = functools.cache(self._new_series)
        if not labels:
            self.of()

    def _new_series(self, *labels: str) -> Histogram:
        return self._series.setdefault(labels, Histogram(self._bounds))

    def remove(self, first_label: str) -> None:
        """End the series whose first label has this value."""
        self._series = {labels: each for labels, each in self._series.items() if labels[0] != first_label}
        self.of.cache_clear()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = self._new_family()
        for labels, series in list(self._series.items()):
            series.add_to(family, labels)
        yield family


class Instruments:
    """Makes metrics in one registry, and describes them. Names get the prefix `clipserve_`.

    To look a series up by its labels is most of the cost of counting, with prometheus_client's lock and checks. So
    `counter` returns a cached function of the label values. Labels have few values, so the cache stays small.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.described: list[Described] = []

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        self._describe(name, "gauge", labels, meaning)
        return Gauge(name, meaning, labels, namespace="clipserve", registry=self._registry)

    def plain_counter(self, name: str, meaning: str, *labels: str) -> Counter:
        self._describe(name, "counter", labels, meaning)
        return Counter(name, meaning, labels, namespace="clipserve", registry=self._registry)

    def counter(self, name: str, meaning: str, *labels: str) -> Callable[..., Counter]:
        return functools.cache(self.plain_counter(name, meaning, *labels).labels)

    def histogram(
        self, name: str, meaning: str, *labels: str, bounds: Sequence[float] = SECONDS
    ) -> Histograms:
        self._describe(name, "histogram", labels, meaning)
        made = Histograms(f"clipserve_{name}", meaning, labels, bounds)
        self._registry.register(made)
        return made

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

"""Makes metrics that are cheap to count in, or that are read when Prometheus asks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Samples = Iterable[tuple[Sequence[str], float]]  # (label values, sample value)
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Instruments:
    """Makes prometheus_client's metrics in one registry. Names get the prefix `clipserve_`.

    A metric's `labels` takes a lock and checks its arguments at each call, which is most of the cost of counting.
    So `counter` and `histogram` return a cached function of the label values. Labels have few values, so the
    caches stay small.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.gauge = functools.partial(Gauge, namespace="clipserve", registry=registry)
        self.plain_counter = functools.partial(Counter, namespace="clipserve", registry=registry)
        self.plain_histogram = functools.partial(
            Histogram, namespace="clipserve", registry=registry, buckets=SECONDS
        )

    def counter(self, name: str, help_text: str, *labels: str) -> Callable[..., Counter]:
        return functools.cache(self.plain_counter(name, help_text, labels).labels)

    def histogram(
        self, name: str, help_text: str, label: str, buckets: Sequence[float] = SECONDS
    ) -> Callable[..., Histogram]:
        return functools.cache(self.plain_histogram(name, help_text, [label], buckets=buckets).labels)

    def read(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        samples: Callable[[], Samples],
        family: Family = GaugeMetricFamily,
    ) -> None:
        """A metric whose values `samples` returns. It is called at each scrape, in another thread."""
        make = functools.partial(family, f"clipserve_{name}", help_text, labels=labels)
        self._registry.register(_Read(make, samples))


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

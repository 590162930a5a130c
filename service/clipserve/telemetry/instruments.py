"""Makes metrics that are cheap to count in, or that are read when Prometheus asks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_NAMESPACE = "clipserve"

Samples = Iterable[tuple[Sequence[str], float]]  # the values of the labels, and the sample's own
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]

# `labels` takes a lock and checks its arguments each time, most of what counting costs: hence the caches. They stay
# small, because labels have few words.


class Instruments:
    """Of one registry. Names get the prefix `clipserve_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def count(self, name: str, help_text: str) -> Counter:
        """A counter without labels."""
        return Counter(name, help_text, namespace=_NAMESPACE, registry=self._registry)

    def counter(self, name: str, help_text: str, *labels: str) -> Callable[..., Counter]:
        """A counter, which is called with the values of its labels."""
        made = Counter(name, help_text, labels, namespace=_NAMESPACE, registry=self._registry)
        return functools.cache(made.labels)

    def histogram_of(
        self, name: str, help_text: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """A histogram as the library has it."""
        return Histogram(
            name, help_text, labels, namespace=_NAMESPACE, buckets=buckets, registry=self._registry
        )

    def histogram(
        self, name: str, help_text: str, label: str, buckets: Sequence[float] = SECONDS
    ) -> Callable[..., Histogram]:
        """A histogram, which is called with the value of its one label."""
        return functools.cache(self.histogram_of(name, help_text, label, buckets=buckets).labels)

    def gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace=_NAMESPACE, registry=self._registry)

    def read(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        samples: Callable[[], Samples],
        family: Family = GaugeMetricFamily,
    ) -> None:
        """What somebody else counts. `samples` is called when Prometheus asks, in a thread of its own."""
        make = functools.partial(family, f"{_NAMESPACE}_{name}", help_text, labels=labels)
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

"""The metrics of several processes as those of one.

Counters and histograms are added up, and what a process that has ended had counted stays in the sum, so that
no counter goes backwards. Gauges follow a table; one that is missing in it is added up, and a test misses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

Rule = Callable[[float, float], float]
Families = list[Metric]


def _sum(one: float, other: float) -> float:
    return one + other


# By family. `max` where each process tells of the same thing, or where one that knows it is enough; `min` where the
# worst is the least.
GAUGES: dict[str, Rule] = {
    "clipserve_build_info": max,
    "clipserve_decode_bytes": _sum,
    "clipserve_decode_waiting": _sum,
    "clipserve_draining": max,
    "clipserve_label_sets": max,
    "clipserve_model_info": max,
    "clipserve_processes": max,
    "clipserve_ready": max,
    "clipserve_rows_in_flight": _sum,
    "clipserve_triton_endpoint_rows": _sum,
    "clipserve_triton_endpoint_up": min,
    "clipserve_work_ahead_seconds": max,
    "clipserve_workers": _sum,
    "process_max_fds": min,
    "process_open_fds": _sum,
    "process_resident_memory_bytes": _sum,
    "process_start_time_seconds": min,
    "process_virtual_memory_bytes": _sum,
}
# Counters of somebody else, which each process only repeats.
_REPEATED = {"clipserve_triton_phase_seconds"}
_COUNTED = ("counter", "histogram", "summary", "gaugehistogram")


def page_of(registry: CollectorRegistry) -> str:
    """The metrics of one process as it tells them to another. Exemplars are in no other format."""
    page: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return page.decode()


def read(page: str) -> Families:
    """What `page_of` has written."""
    return list(text_string_to_metric_families(page))  # type: ignore[no-untyped-call]


def summed(sources: Iterable[Families]) -> Families:
    """One family for all of its name, with one sample for all of its name and labels."""
    sums: dict[str, _Sum] = {}
    for families in sources:
        for family in families:
            sums.setdefault(family.name, _Sum(family)).add(family.samples)
    return [each.family() for each in sums.values()]


def counted(families: Families) -> Families:
    """Of these what still counts when the process that told them has ended."""
    return [each for each in families if each.type in _COUNTED and each.name not in _REPEATED]


class Told(Collector):
    """Families as a registry wants them."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


class _Sum:
    def __init__(self, like: Metric) -> None:
        self._like = like
        self._samples: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            before = self._samples.get(key)
            self._samples[key] = self._joined(before, sample) if before else sample

    def _joined(self, one: Sample, other: Sample) -> Sample:
        exemplars = [each for each in (one.exemplar, other.exemplar) if each]
        newest = max(exemplars, key=lambda each: each.timestamp or 0.0, default=None)
        return one._replace(value=self._rule(one.name)(one.value, other.value), exemplar=newest)

    def _rule(self, sample: str) -> Rule:
        if sample.endswith("_created"):
            return min
        if self._like.name in _REPEATED:
            return max
        return _sum if self._like.type in _COUNTED else GAUGES.get(self._like.name, _sum)

    def family(self) -> Metric:
        like = self._like
        family = Metric(like.name, like.documentation, like.type, like.unit)
        family.samples = list(self._samples.values())
        return family

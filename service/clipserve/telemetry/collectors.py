"""Metrics that somebody else counts, read when Prometheus asks. It asks in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from clipserve.telemetry.log import lines_dropped


class DroppedLines(Collector):
    """What the log counts, which is the process's and not one service's."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "clipserve_log_lines_dropped",
            "Log lines that standard error did not take: it is full, closed, or nobody reads it.",
            lines_dropped(),
        )


class WorkAhead(Collector):
    """The work in flight of all models. `sources`: each gives tower -> seconds."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], Mapping[str, float]]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "clipserve_work_ahead_seconds",
            "Estimated time until all rows admitted now are answered.",
            labels=["tower"],
        )
        ahead: dict[str, float] = {}
        for source in self.sources:
            for tower, seconds in source().items():
                ahead[tower] = ahead.get(tower, 0.0) + seconds
        for tower, seconds in ahead.items():
            family.add_metric([tower], seconds)
        yield family


class ServedModelInfo(NamedTuple):
    """What a metric says of a model, in the order of its labels."""

    model: str
    fingerprint: str
    engine: str
    precision: str


class ModelInfos(Collector):
    """One series for each model that has started."""

    def __init__(self) -> None:
        self.read: Callable[[], list[ServedModelInfo]] = list

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "clipserve_model_info",
            "Always 1: a model that has started, its fingerprint, what computes it and in which precision.",
            labels=ServedModelInfo._fields,
        )
        for info in self.read():
            family.add_metric(info, 1.0)
        yield family

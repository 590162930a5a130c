"""Reads Prometheus's text format, and the difference of two readings."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]  # (name, labels) -> value


@dataclass(frozen=True)
class Stage:
    """The number of runs of a stage, and their mean seconds."""

    count: int
    mean_seconds: float


@dataclass(frozen=True)
class ServerMetrics:
    """The server's counts during a run.

    `outcomes`: requests by endpoint and status or error code. `batches`: for each encoder the calls by the upper
    bound of their rows' bucket. `calls`: for each encoder its calls and their mean duration.
    """

    outcomes: dict[str, int]
    stages: dict[str, Stage]
    batches: dict[str, dict[str, int]]
    calls: dict[str, Stage]


def parse(text: str) -> Samples:
    """All samples of a reading."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(url: str) -> Samples:
    """The samples of a server now."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parse(answer.read().decode())


def between(before: Samples, after: Samples) -> ServerMetrics:
    """The counts between two readings of a clipserve."""
    grown = {
        key: value - before.get(key, 0.0) for key, value in after.items() if value > before.get(key, 0.0)
    }
    outcomes = {
        f"{labels['endpoint']} {labels['outcome']}": int(value)
        for labels, value in _named(grown, "clipserve_requests_total")
        if labels["endpoint"] != "/readyz"
    }
    return ServerMetrics(
        outcomes=dict(sorted(outcomes.items())),
        stages=_stages(grown, "clipserve_stage_seconds", "stage"),
        batches=_buckets(grown, "clipserve_batch_rows", "tower"),
        calls=_stages(grown, "clipserve_batch_seconds", "tower"),
    )


def _named(samples: Samples, name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(labels), value) for (sample, labels), value in samples.items() if sample == name]


def _stages(grown: Samples, name: str, label: str) -> dict[str, Stage]:
    sums = {labels[label]: value for labels, value in _named(grown, f"{name}_sum")}
    return {
        labels[label]: Stage(int(count), sums.get(labels[label], 0.0) / count)
        for labels, count in sorted(_named(grown, f"{name}_count"), key=lambda pair: pair[0][label])
    }


def _buckets(grown: Samples, name: str, label: str) -> dict[str, dict[str, int]]:
    """Convert Prometheus's cumulative buckets to separate ones."""
    cumulative: dict[str, list[tuple[float, str, float]]] = defaultdict(list)
    for labels, value in _named(grown, f"{name}_bucket"):
        cumulative[labels[label]].append((float(labels["le"]), labels["le"], value))
    own: dict[str, dict[str, int]] = {}
    for key, buckets in sorted(cumulative.items()):
        below = 0.0
        for _, bound, value in sorted(buckets):
            if value > below:
                own.setdefault(key, {})[bound.removesuffix(".0")] = int(value - below)
            below = value
    return own

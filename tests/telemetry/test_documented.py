"""docs/metrics.md says of each metric what the registry says: name, type, labels, meaning; and none is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from clipserve.telemetry.metrics import CLIENT_GONE, Metrics, ServedModelInfo

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


class Row(NamedTuple):
    """One metric as Prometheus sees it: a counter ends with _total."""

    name: str
    type: str
    labels: frozenset[str]
    meaning: str


def counted() -> Metrics:
    """Metrics with a sample of every one, so that each tells its labels."""
    metrics = Metrics()
    metrics.request("/embed", "overloaded", 0.1)
    metrics.request("/embed", CLIENT_GONE, 0.1)
    with metrics.stage("decode"):
        pass
    metrics.key_used("camera", 1, 1)
    metrics.batch("image", 1, 0.1)
    metrics.queue_seconds("image").observe(0.1)
    metrics.workers.labels("image").inc()
    metrics.rows_in_flight.labels("image").inc()
    metrics.work_ahead.append(lambda: {"image": 1.0})
    server = metrics.triton.add("triton:8001", "toy", up=lambda: True, rows=lambda: 0, shared_bytes=lambda: 0)
    server.phases["toy_image", "queue"] = 1.0
    metrics.cache("images", "hit").inc()
    metrics.decoders_replaced("died").inc()
    metrics.images_fetched("fetched").inc()
    metrics.spans("sent", 1)
    metrics.label_sets.labels("ready").set(1)
    metrics.label_set_built("ok", 0.1)
    metrics.models = lambda: [ServedModelInfo("toy", "abc", "fake", "fp32")]
    return metrics


def registered() -> list[Row]:
    rows = []
    for family in counted().registry.collect():
        assert family.samples, f"{family.name}: count one above, so that its labels are known"
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        rows.append(Row(name, family.type, frozenset(labels), family.documentation))
    return rows


def documented() -> list[Row]:
    found = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]*?) ?\| ([^|]+) \| [^|]+ \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    return [
        Row(name, kind, frozenset(re.findall(r"\w+", labels)), meaning)
        for name, kind, labels, meaning in found
    ]


def test_the_table_has_every_metric_of_the_registry_with_its_type_labels_and_meaning() -> None:
    told, known = documented(), registered()
    assert len(told) == len({row.name for row in told}), "a metric is there twice"
    missing = [row for row in known if row not in told]
    gone = [row for row in told if row not in known]
    assert (missing, gone) == ([], [])

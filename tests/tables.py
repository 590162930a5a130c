"""The tables of docs/settings.md and docs/metrics.md, out of the settings and the metrics: `make docs`."""

from __future__ import annotations

import re
from typing import NamedTuple

from clipserve.settings import as_markdown
from clipserve.telemetry.metrics import Metrics
from tests.api_reference import ROOT, made, tell

SETTINGS, METRICS = ROOT / "docs/settings.md", ROOT / "docs/metrics.md"


def settings_table() -> str:
    return as_markdown() + "\n"


def metrics_table() -> str:
    """What to look at, the last column, stays as the page has it. A new metric comes last, and has none."""
    known = {metric.name: metric for metric in described()}
    remarks = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*?) ?\|$", made(METRICS), re.MULTILINE))
    names = [name for name in remarks if name in known] + [name for name in known if name not in remarks]
    rows = ["| name | type | labels | meaning | what to look at |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        metric = known[name]
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{name}` | {metric.kind} | {labels} | {metric.meaning} | {remarks.get(name, '')} |")
    return "\n".join(rows) + "\n"


class Described(NamedTuple):
    """A metric as docs/metrics.md has it. `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def described() -> list[Described]:
    """Our metrics, and those of the process, which prometheus_client describes."""
    found = []
    for collector in Metrics().registry._collector_to_names:
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # Of a metric, or where a collector makes families, of each.
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            found.append(Described(name, family.type, tuple(labels or ()), family.documentation))
    return found


if __name__ == "__main__":
    tell(SETTINGS, settings_table())
    tell(METRICS, metrics_table())

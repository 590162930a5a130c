"""The tables of docs/settings.md and docs/metrics.md, out of the settings and the metrics: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from clipserve.settings import as_markdown
from clipserve.telemetry.metrics import Metrics
from tests.docs.markdown import ROOT

SETTINGS, METRICS = ROOT / "docs/settings.md", ROOT / "docs/metrics.md"
_BEGIN, _END = "<!-- make docs -->\n", "<!-- end of the table -->\n"


def made(page: Path) -> str:
    """The part of a page that is made."""
    return page.read_text().partition(_BEGIN)[2].partition(_END)[0]


def tell(page: Path, table: str) -> None:
    """Put it into the page in place of the part that is made."""
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(before + _BEGIN + table + _END + rest.partition(_END)[2])


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

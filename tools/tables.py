"""The tables of the documents that the code has: `make docs` writes them anew between their two comments."""

from __future__ import annotations

import re
from typing import NamedTuple

from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import kinds
from clipserve.rest.errors import status_of
from clipserve.rpc.errors import status_of as rpc_status
from clipserve.settings import as_markdown
from clipserve.telemetry.metrics import Metrics
from tools.markdown import ROOT


def made(page: str, name: str) -> str:
    """The table `name` as the page has it."""
    return _parts(page, name)[1]


def tell(page: str, name: str) -> None:
    """Put the table of now into the page."""
    before, _, after = _parts(page, name)
    (ROOT / page).write_text(before + TABLES[page, name]() + after)


def _parts(page: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- make docs: {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = (ROOT / page).read_text().partition(begin)
    table, _, after = rest.partition(end)
    return before + begin, table, end + after


def settings_table() -> str:
    return as_markdown() + "\n"


def metrics_table() -> str:
    """What to look at, the last column, stays as the page has it. A new metric comes last, and has none."""
    known = {metric.name: metric for metric in described()}
    remarks = dict(
        re.findall(r"^\| `(\w+)` \|.*\| ([^|]*?) ?\|$", made("docs/metrics.md", "metrics"), re.MULTILINE)
    )
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


def error_table() -> str:
    """Code, status and meaning of every error, the last as the class says it."""
    rows = ["| `code` | status | meaning |", "| --- | --- | --- |"]
    root, *others = kinds()
    for kind in [*others, root]:
        meaning = (kind.__doc__ or "").split(". The root")[0].rstrip(".")
        meaning = meaning[0].lower() + meaning[1:]
        rows.append(f"| `{kind.code}` | {int(status_of(kind))} | {meaning} |")
    return "\n".join(rows) + "\n"


def status_table() -> str:
    """The status in gRPC of every error, with the codes that have it."""
    codes: dict[str, list[str]] = {}
    for kind in kinds():
        codes.setdefault(rpc_status(kind).name, []).append(f"`{kind.code}`")
    rows = ["| gRPC status | codes |", "| --- | --- |"]
    rows += [f"| {status} | {', '.join(names)} |" for status, names in sorted(codes.items())]
    return "\n".join(rows) + "\n"


def template_sets_table() -> str:
    """Name, size and origin of every template set."""
    rows = ["| name | templates | the first | class names | from |", "| --- | --- | --- | --- | --- |"]
    for each in TEMPLATE_SETS.values():
        sizes = f"{len(each.templates)} | `{each.templates[0]}` | {len(each.class_names) or ''}"
        rows.append(f"| `{each.name}` | {sizes} | {each.source} |")
    return "\n".join(rows) + "\n"


# Page and name of each.
TABLES = {
    ("docs/settings.md", "settings"): settings_table,
    ("docs/metrics.md", "metrics"): metrics_table,
    ("docs/api.md", "error codes"): error_table,
    ("docs/api.md", "grpc statuses"): status_table,
    ("docs/scores.md", "template sets"): template_sets_table,
}

if __name__ == "__main__":
    for page, name in TABLES:
        tell(page, name)

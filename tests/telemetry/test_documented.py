"""docs/metrics.md says of each metric what to look at; and what is defined is counted somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import clipserve
from clipserve.telemetry.metrics import Metrics
from tests.tables import made

SERVICE = Path(clipserve.__file__).parent


def test_the_table_says_of_each_metric_what_to_look_at() -> None:
    assert re.findall(r"^\| `(\w+)` \|.*\|  \|$", made("docs/metrics.md", "metrics"), re.MULTILINE) == []


def test_what_is_defined_is_used() -> None:
    """A metric that nobody counts stays at nothing, and looks like rest."""
    sources = [path.read_text() for path in SERVICE.rglob("*.py") if path.name != "__init__.py"]
    names = {name.removeprefix("_") for name in vars(Metrics()) if not name.startswith("__")}
    unused = {
        name for name in names if not any(re.search(rf"\b_?{name}\b\W*[(.\[]", text) for text in sources)
    }
    assert unused == set()

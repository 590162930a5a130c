"""docs/metrics.md says of each metric what to look at; and what is defined is counted somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import clipserve
from clipserve.telemetry.metrics import Metrics
from tools.tables import made

SERVICE = Path(clipserve.__file__).parent


def test_the_table_says_of_each_metric_what_to_look_at() -> None:
    assert re.findall(r"^\| `(\w+)` \|.*\|  \|$", made("docs/metrics.md", "metrics"), re.MULTILINE) == []


def test_what_is_defined_is_used() -> None:
    """A metric that nobody counts stays at nothing, and looks like rest."""
    used = set[str]()
    for path in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = ast.unparse(node.value)
                if owner.endswith("metrics") or (owner == "self" and path.name == "metrics.py"):
                    used.add(node.attr)
    methods = {name for name in vars(Metrics) if not name.startswith("_")}
    assert (vars(Metrics()).keys() | methods) - used == set()

"""The rules and the dashboard of deploy/chart/files, and what lies under deploy/monitoring, read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
RULES = ROOT / "deploy" / "chart" / "files"
RUNBOOK = ROOT / "deploy" / "README.md"
CONFIG = FOLDER / "prometheus.yml"
DASHBOARD = RULES / "dashboard.json"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))

Rule = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def rule_files() -> list[Path]:
    """Those that Prometheus reads."""
    return [(FOLDER / name).resolve() for name in read(CONFIG)["rule_files"]]


def rules() -> list[Rule]:
    return [rule for path in rule_files() for group in read(path)["groups"] for rule in group["rules"]]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule]


class Query(NamedTuple):
    """A query of a panel, as Grafana would send it but for its variables."""

    panel: str
    expression: str


def panels() -> list[dict[str, Any]]:
    """In their order; rows, which are headings, too."""
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return shown


def queries() -> list[Query]:
    return [
        Query(panel["title"], target["expr"]) for panel in panels() for target in panel.get("targets", [])
    ]


def metrics_of(expression: str) -> set[str]:
    """The metrics that it reads, by the prefixes of those who give them; recorded ones too."""
    without_labels = re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)', "", expression)
    givers = "clipserve|process|kube|container|haproxy|edge|certmanager|nv|DCGM"
    return set(re.findall(rf"[\w:]*\b(?:{givers})_[\w:]+", without_labels))

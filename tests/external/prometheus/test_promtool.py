"""Prometheus's own tool reads the configuration, and runs the tests of the rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.files import CONFIG, TESTS, queries, rule_files
from tests.monitoring.panels import ASKED_OF_PROMTOOL, as_asked


def promtool(*command: object) -> None:
    done = subprocess.run(["promtool", *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", CONFIG)


def test_the_rules_have_no_fault_that_promtool_knows() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *rule_files())


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_not_when_they_must_not(path: Path) -> None:
    promtool("test", "rules", path)


def test_queries_whose_metrics_nobody_gives_here_return_data_from_series_like_them(tmp_path: Path) -> None:
    asked = {query.panel: query for query in queries() if query.panel in ASKED_OF_PROMTOOL}
    assert asked.keys() == ASKED_OF_PROMTOOL.keys()
    tests = [
        {
            "interval": "15s",
            "input_series": [{"series": each.series, "values": "0+15x40"}],
            "promql_expr_test": [
                {
                    "expr": as_asked(asked[panel].expression, "1m"),
                    "eval_time": "5m",
                    "exp_samples": [{"labels": each.labels, "value": each.value}],
                }
            ],
        }
        for panel, each in ASKED_OF_PROMTOOL.items()
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}))
    promtool("test", "rules", path)

"""Prometheus's own tool on the queries that scale pods, over what it records for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.manifests import ROOT, Object, of_kind, run

RECORDED = ROOT / "deploy" / "chart" / "files" / "recording.yml"

_NAMESPACE = 'namespace="clipserve",clipserve_color="blue"'
# Two pods of a color for ten minutes: series -> its values, a minute apart. Nothing is asked yet.
_IDLE = {
    f'clipserve_ready{{{_NAMESPACE},pod="a"}}': "1x10",
    f'clipserve_ready{{{_NAMESPACE},pod="b"}}': "1x10",
    f'clipserve_workers{{{_NAMESPACE},pod="a",tower="image"}}': "2x10",
    f'clipserve_workers{{{_NAMESPACE},pod="b",tower="image"}}': "2x10",
}
# Each pod computes 60 of 60 seconds in one of its two workers; 100 requests a minute each, which wait 0.5 s.
_BUSY = _IDLE | {
    f'clipserve_{name}{{{_NAMESPACE},pod="{pod}"{label}}}': f"0+{step}x10"
    for pod in ("a", "b")
    for name, label, step in (
        ("batch_seconds_sum", ',tower="image"', 60),
        ("batch_seconds_sum", ',tower="text"', 30),
        ("queue_seconds_sum", ',tower="image"', 50),
        ("queue_seconds_count", ',tower="image"', 100),
        ("requests_total", ',endpoint="/classify",outcome="200"', 100),
    )
}
_REFUSING = _BUSY | {f'clipserve_refused_total{{{_NAMESPACE},pod="a",reason="overloaded"}}': "0+100x10"}
_REFUSING_FEW = _BUSY | {f'clipserve_refused_total{{{_NAMESPACE},pod="a",reason="overloaded"}}': "0+3x10"}
_OVER_RATE = _BUSY | {f'clipserve_refused_total{{{_NAMESPACE},pod="a",reason="rate_limited"}}': "0+100x10"}


@pytest.mark.parametrize(
    ("series", "trigger", "value"),
    [
        (_IDLE, "busy", 0),
        (_BUSY, "busy", 1),  # two pods with half of their workers each
        (_IDLE, "waiting", 0),
        (_BUSY, "waiting", 1),  # 0.5 s of two pods
        (_IDLE, "refused", 0),
        (_BUSY, "refused", 0),
        (_REFUSING, "refused", 3.2),  # half of the requests: half as many pods more, and a tenth
        (_REFUSING_FEW, "refused", 2.23),  # above the tenth of two pods that an autoscaler leaves alone
        (_OVER_RATE, "refused", 0),  # more pods would not help
        ({}, "busy", None),
        ({}, "waiting", None),
        ({}, "refused", None),
    ],
)
def test_a_trigger_asks_for_pods_in_proportion(
    series: dict[str, str],
    trigger: str,
    value: float | None,
    objects: dict[str, list[Object]],
    tmp_path: Path,
) -> None:
    """Of one color: the other does twice as much. None: the query gives nothing, and KEDA falls back."""
    (scaled,) = (
        each
        for each in of_kind(objects["everything"], "ScaledObject")
        if each["metadata"]["name"] == "clipserve-blue"
    )
    queries = {each["name"]: each["metadata"]["query"] for each in scaled["spec"]["triggers"]}
    samples = [] if value is None else [{"labels": "{}", "value": value}]
    question = {"expr": queries[trigger], "eval_time": "10m", "exp_samples": samples}
    others = {name.replace("blue", "green"): values.replace("+", "+2") for name, values in series.items()}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in (series | others).items()],
        "promql_expr_test": [question],
    }
    file = tmp_path / "test.yml"
    content = {"rule_files": [str(RECORDED)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(content))
    run("promtool", "test", "rules", file)

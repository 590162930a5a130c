"""Alerts: each is tested both ways, each has its entry in the runbook, and all read metrics that there are."""

from __future__ import annotations

import re
from itertools import groupby

from clipserve.errors import REFUSALS, ClipError, kinds
from clipserve.rest.errors import status_of
from clipserve.rest.exchange import PROBES
from clipserve.telemetry.metrics import Metrics
from tests.monitoring.files import (
    ROOT,
    RUNBOOK,
    TESTS,
    alerts,
    metrics_of,
    queries,
    read,
    rule_files,
    rules,
)
from tools.tables import described

# What kube-state-metrics, HAProxy, Triton and the exporter of DCGM give.
FOREIGN = {
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_XID_ERRORS",
    "haproxy_backend_http_responses_total",
    "haproxy_server_http_responses_total",
    "kube_endpoint_address",
    "kube_endpoint_info",
    "kube_endpointslice_endpoints",
    "kube_endpointslice_info",
    "kube_service_info",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_utilization",
    "nv_inference_pending_request_count",
    "nv_inference_request_failure",
}


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """Of each severity and window."""

    def key(name: str, labels: dict[str, str]) -> tuple[str, str, str]:
        return name, labels["severity"], labels.get("window", "")

    questions = (asked for path in TESTS for test in read(path)["tests"] for asked in test["alert_rule_test"])
    fired = {
        key(asked["alertname"], each["exp_labels"]) for asked in questions for each in asked["exp_alerts"]
    }
    assert fired == {key(rule["alert"], rule["labels"]) for rule in alerts()}


def runbook_entries() -> list[str]:
    section = RUNBOOK.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (\w+)$", section, re.MULTILINE)


def test_the_runbook_has_an_entry_for_every_alert_and_for_nothing_else() -> None:
    assert runbook_entries() == [name for name, _ in groupby(rule["alert"] for rule in alerts())]


def test_every_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on() -> None:
    for rule in alerts():
        name, annotations = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert annotations.keys() == {"summary", "description", "runbook_url"}, name
        base = f'{{{{ or $externalLabels.runbook "{RUNBOOK.relative_to(ROOT)}" }}}}'
        assert annotations["runbook_url"] == f"{base}#{name.lower()}"


def test_rules_and_dashboard_read_metrics_that_there_are() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = FOREIGN | recorded
    for row in described():
        known |= {row.name} if row.kind != "histogram" else {f"{row.name}_{part}" for part in PARTS}
    used = [rule["expr"] for rule in rules()] + [query.expression for query in queries()]
    assert {name for expression in used for name in metrics_of(expression)} - known == set()


PARTS = ("bucket", "count", "sum")


def test_errors_are_the_faults_of_the_service_and_refusals_are_none() -> None:
    record = {"record": "job:clipserve_outcomes:rate5m", "labels": {"kind": "error"}}
    (rule,) = (rule for rule in rules() if record.items() <= rule.items())
    (counted,) = re.findall(r'outcome=~"([^"]+)"', rule["expr"])
    faults = {kind.code for kind in kinds(ClipError) if status_of(kind) >= 500} - REFUSALS
    assert {*counted.split("|")} == faults | {"5.."}


def test_no_probe_counts_for_an_objective_or_on_the_dashboard() -> None:
    expressions = [rule["expr"] for rule in rules()] + [query.expression for query in queries()]
    left_out = re.findall(r'endpoint!~"([^"]+)"', " ".join(expressions))
    assert left_out
    assert [probe for probe in PROBES for each in left_out if not re.fullmatch(each, probe)] == []


def test_the_bound_of_the_latency_objective_is_one_of_the_histogram() -> None:
    metrics = Metrics()
    metrics.request("/embed", "200", 0.1)
    bounds = {
        sample.labels["le"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "clipserve_request_seconds_bucket"
    }
    asked = re.findall(r'le="([^"]+)"', " ".join(path.read_text() for path in rule_files()))
    assert asked
    assert set(asked) <= bounds

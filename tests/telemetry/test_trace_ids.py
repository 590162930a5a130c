"""The id of a trace leads from a log line and from a histogram to the spans; what is not traced has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, SharedContext, add_request_ids, enter
from clipserve.telemetry.tracing import begin
from tests.telemetry.traced import SAMPLED, TRACE, tracing


@pytest.fixture(autouse=True)
def nobody_s_request() -> Iterator[None]:
    yield
    enter(None)


def test_log_lines_of_a_traced_request_have_its_trace_and_lines_of_shared_work_those_of_all() -> None:
    with tracing():
        one, other = RequestContext("a", span=begin(SAMPLED)), RequestContext("b")
        enter(one)
        assert add_request_ids(None, "info", {}) == {"request_id": "a", "trace_id": TRACE}
        enter(other)
        assert add_request_ids(None, "info", {}) == {"request_id": "b"}
        enter(SharedContext([one, other]))
        assert add_request_ids(None, "info", {}) == {"request_ids": ["a", "b"], "trace_ids": [TRACE]}


def exemplars(metrics: Metrics) -> dict[str, set[str]]:
    """Sample name -> the traces that it names."""
    found: dict[str, set[str]] = {}
    text = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar:
                found.setdefault(sample.name, set()).add(sample.exemplar.labels["trace_id"])
    return found


def test_the_histogram_of_requests_names_the_traces_of_sampled_requests() -> None:
    metrics = Metrics()
    enter(RequestContext("a"))
    metrics.request("/embed", "200", 0.1)
    assert exemplars(metrics) == {}
    with tracing():
        enter(RequestContext("b", span=begin(SAMPLED)))
        metrics.request("/embed", "200", 0.1)
    assert exemplars(metrics) == {"clipserve_request_seconds_bucket": {TRACE}}

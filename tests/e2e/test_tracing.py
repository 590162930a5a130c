"""A process with a collector: spans and log lines of one trace."""

from __future__ import annotations

import json

import pytest

from tests.process import PATIENT, Process, get, post, waited_until
from tests.telemetry.collector import collecting
from tests.telemetry.traced import CALLER, SAMPLED, TRACE

pytestmark = pytest.mark.slow


def test_a_traced_request_is_seen_by_the_collector_in_the_log_and_in_the_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds, until spans are sent
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        process = Process(backend="onnx", decode_processes="false", **PATIENT)
        process.wait_ready()
        for headers in ({"traceparent": SAMPLED, "x-request-id": "mine"}, {"x-request-id": "other"}):
            answer = post(process.url + "/embed", json={"texts": ["a"]}, headers=headers)
            assert answer.status_code == 200
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        metrics = get(process.operations_url + "/metrics", headers=accept).text
        waited_until(lambda: any(span.parent_id == CALLER for span in collector.spans))
        status, log = process.stop()
    assert status == 0
    assert {span.trace_id for span in collector.spans} == {TRACE}
    (request,) = [span for span in collector.spans if span.parent_id == CALLER]
    assert (request.service, request.name) == ("clipserve", "/embed")
    assert request.attributes["clipserve.request_id"] == "mine"
    lines = {line["request_id"]: line for line in map(json.loads, log.splitlines()) if "request_id" in line}
    assert lines["mine"]["trace_id"] == TRACE
    assert "trace_id" not in lines["other"]
    assert f'# {{trace_id="{TRACE}"}}' in metrics

"""Which requests are traced, by the header of W3C Trace Context; and how spans reach a collector, or do not."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest

from clipserve.errors import Overloaded
from clipserve.telemetry.request import RequestContext
from clipserve.telemetry.tracing import TracingUnavailable, begin, span, tracing_to
from tests.telemetry.collector import collecting
from tests.telemetry.traced import CALLER, SAMPLED, TRACE, UNSAMPLED, tracing


class Counted(Counter[str]):
    """What became of spans."""

    def __call__(self, outcome: str, spans: int) -> None:
        self[outcome] += spans


@pytest.mark.parametrize(
    "header",
    [
        None,
        UNSAMPLED,
        "",
        SAMPLED.upper(),
        SAMPLED + "-more",
        SAMPLED.replace(CALLER, "0" * 16),
    ],
)
def test_without_the_flag_or_with_a_header_that_is_none_nothing_is_traced(header: str | None) -> None:
    with tracing():
        assert begin(header) is None
        assert begin(header and header.encode()) is None


def test_a_header_that_is_too_long_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with tracing():
        assert begin("0" * 10_000) is None
    assert caplog.records == []


def test_own_sampling_is_of_requests_without_the_header_only() -> None:
    with tracing(ratio=1.0):
        assert begin(UNSAMPLED) is None
        one, other = (RequestContext("a", span=begin(None)) for _ in range(2))
        assert one.trace_id
        assert other.trace_id not in (None, one.trace_id)


def test_spans_reach_a_collector_with_the_name_of_the_service_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = Counted()
    with collecting() as collector:
        for name in ("clipserve", "photos"):
            if name != "clipserve":
                monkeypatch.setenv("OTEL_SERVICE_NAME", name)
            with tracing_to(collector.url, counted, close_seconds=60):
                request = begin(SAMPLED)
                assert request
                with contextlib.suppress(Overloaded), span("part", rows=2):
                    raise Overloaded("full.", retry_after=1)
                request.end()
            inner, outer = collector.spans[-2:]
            assert (inner.service, outer.service) == (name, name)
            assert (inner.trace_id, outer.trace_id, outer.parent_id) == (TRACE, TRACE, CALLER)
            assert (inner.parent_id, inner.failed, outer.failed) == (outer.span_id, True, False)
            assert inner.attributes == {"clipserve.rows": "2"}
    assert counted == {"sent": 4}


def test_a_collector_that_refuses_is_counted_and_one_that_hangs_does_not_hold_up_the_end() -> None:
    counted = Counted()
    with collecting() as collector:
        collector.status = 400
        with tracing_to(collector.url, counted, close_seconds=60):
            ended_request()
    assert counted == {"failed": 1}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with tracing_to(f"http://127.0.0.1:{silent.getsockname()[1]}", counted):
            ended_request()
            began = time.monotonic()
        assert time.monotonic() - began < 30  # it has one second


def ended_request() -> None:
    request = begin(SAMPLED)
    assert request
    request.end()


def test_without_the_setting_what_sends_spans_is_not_loaded() -> None:
    code = """
import asyncio, sys
from clipserve.wiring.gateway import open_gateway
from clipserve.settings import Settings
from clipserve.telemetry.tracing import begin
async def main():
    async with open_gateway(Settings(grpc_port=0)):
        assert begin("00-1-1-01") is None
asyncio.run(main())
# The client of Redis loads another part of it, where it is installed.
assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))]
"""
    empty = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}  # the specification: as if it were unset
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=empty)


def test_where_opentelemetry_is_not_installed_the_start_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(TracingUnavailable, match=r"clipserve-core\[tracing\]"),
        tracing_to("http://127.0.0.1:1", lambda *_: None),
    ):
        pass

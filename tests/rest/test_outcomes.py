"""What becomes of a request, and how that is counted and logged."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.rest.raw import post, requests_counted
from tests.rest.test_connections import LIMITS as LINE_LIMITS
from tests.rest.test_exchange import LIMITS, Client, exchange, posted, scope
from tests.rest.wire import fed, protocol_of
from tests.support.service import DIM, Running, eventually, serving


async def test_each_outcome_is_counted_once_by_endpoint_and_its_time_in_seconds(toy: Path) -> None:
    async with serving(FakeBackend(DIM, delay=0.05), toy, max_body_bytes=1_000) as running:
        await posted(running)
        await posted(running, b"{")
        await posted(running, bytes(1_001))
        for path in ("/nowhere", "/classify", "/livez", "/label-sets/pets"):
            await running.client.get(path)
        await running.client.head("/")  # its client has all before the file is read
        metrics = running.gateway.metrics
        # The last is counted after its answer has left.
        await eventually(lambda: sum(requests_counted(metrics).values()) == 8)
        assert requests_counted(metrics) == {
            ("/embed", "200"): 1,
            ("/embed", "invalid_input"): 1,
            ("/embed", "body_too_large"): 1,
            ("other", "404"): 1,
            ("/classify", "405"): 1,
            ("/livez", "200"): 1,
            ("/", "200"): 1,
            ("/label-sets/{name}", "unknown_label_set"): 1,
        }
        seconds = metrics.registry.get_sample_value("clipserve_request_seconds_sum", {"endpoint": "/embed"})
        assert seconds is not None
        assert 0.045 <= seconds < 5  # a timer may be early by a tick


async def test_each_request_is_one_line_of_the_log_and_a_probe_is_none(
    running: Running, written: io.StringIO
) -> None:
    await posted(running, x_request_id="first")
    await posted(running, b"{", x_request_id="second")
    for path in ("/livez", "/readyz"):
        await running.client.get(path)
    await running.client.get("/nowhere", headers={"x-request-id": "third"})
    await eventually(lambda: len(written.getvalue().splitlines()) >= 3)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(each["event"], each["request_id"], each["endpoint"], each["outcome"]) for each in lines] == [
        ("request", "first", "/embed", "200"),
        ("request", "second", "/embed", "invalid_input"),
        ("request", "third", "other", "404"),
    ]
    assert all(0 < each["ms"] < 5_000 and each["ms"] == round(each["ms"], 1) for each in lines)


async def test_an_answer_that_is_written_is_not_taken_back_by_a_departure() -> None:
    metrics = Metrics()
    protocol = protocol_of(exchange(Response(b"answer"), metrics=metrics), LINE_LIMITS)
    line = await fed(protocol, post(b"", path=b"/"))
    protocol.connection_lost(None)
    assert line.written.endswith(b"answer")
    assert requests_counted(metrics) == {("other", "200"): 1}


async def test_the_deadline_cancels_the_work_before_it_is_told() -> None:
    client, metrics, cancelled = Client(), Metrics(), []

    async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # it takes a moment to be cancelled
            cancelled.append(scope)

    limits = replace(LIMITS, deadline_seconds=0.05)
    await exchange(hanging, limits, metrics=metrics)(scope(), client.receive, client.send)
    assert len(cancelled) == 1
    assert client.sent[0]["status"] == 504
    assert b"no answer within 0.05 s" in client.sent[1]["body"]
    assert requests_counted(metrics) == {("other", "deadline_exceeded"): 1}


async def test_what_the_end_of_the_drain_cuts_off_is_told_to_come_again(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy, drain_seconds=1) as running:
        backend.gate.clear()
        asked = asyncio.create_task(running.client.post("/embed", json={"texts": ["b"]}))
        await eventually(lambda: backend.running == 1, 60)
        running.gateway.end()
        answer = await asked
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        assert answer.headers["retry-after"] == "1"

"""A request whose caller traces it has a span for each part of its work, and no other request has any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from clipserve.engine.backend import Backend, Embeddings, Pixels
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.tracing import begin, headers, span
from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.rpc.client import client_of
from tests.support.service import DIM, Running, eventually, form, png, serving, write_toy_artifact
from tests.telemetry.traced import CALLER, SAMPLED, TRACE, UNSAMPLED, Ended, Traced, tracing

_FOUR = BatchPolicy(4)


def batched(inner: Backend, images: BatchPolicy) -> Batched:
    return Batched(inner, images, BatchPolicy(4), Metrics())


@asynccontextmanager
async def traced_service(
    folder: Path,
    backend: Backend | None = None,
    ratio: float | None = None,
    images: BatchPolicy = _FOUR,
    **settings: Any,
) -> AsyncIterator[tuple[Running, Traced]]:
    artifact = await write_toy_artifact(folder / "toy")
    with tracing(ratio) as traced:
        async with serving(batched(backend or FakeBackend(DIM), images), artifact, **settings) as running:
            yield running, traced


async def ended(traced: Traced, count: int) -> list[Ended]:
    """The span of a request ends a moment after its answer has come."""
    await eventually(lambda: len(traced.spans()) >= count)
    return traced.spans()


async def classify(running: Running, traceparent: str | None, *images: bytes) -> int:
    parent = {"traceparent": traceparent} if traceparent else {}
    fields = form(images or (png(),), {"labels": ["a", "b"]})
    answer = await running.client.post("/classify", files=fields, headers={"x-request-id": "mine", **parent})
    return answer.status_code


async def test_a_traced_request_has_a_span_for_each_part_of_its_work_in_the_trace_of_its_caller(
    tmp_path: Path,
) -> None:
    async with traced_service(tmp_path) as (running, traced):
        assert await classify(running, SAMPLED) == 200
        spans = await ended(traced, 4)
    assert {span.trace_id for span in spans} == {TRACE}
    (request,) = [span for span in spans if span.parent == CALLER]
    assert (request.name, request.kind, request.failed) == ("/classify", "SERVER", False)
    assert request.attributes == {
        "endpoint": "/classify",
        "outcome": "200",
        "request_id": "mine",
        "model": "toy",
        "rows": 3,
    }
    parts = {(span.name, *span.attributes.values()) for span in spans if span.parent == request.id}
    assert parts == {("decode",), ("batch", "image", 1), ("batch", "text", 2)}


async def test_a_call_of_grpc_is_traced_like_a_request_of_rest(tmp_path: Path) -> None:
    async with (
        traced_service(tmp_path, grpc_enabled=True) as (running, traced),
        client_of(running.rpc_address) as client,
    ):
        await client.call("Embed", texts=["a"], metadata=[("traceparent", SAMPLED)])
        await client.call("Embed", texts=["a"], metadata=[("traceparent", UNSAMPLED)])
        await client.call("Embed", texts=["a"])
        spans = await ended(traced, 2)
    assert sorted(span.name for span in spans) == ["batch", "grpc Embed"]
    assert {span.trace_id for span in spans} == {TRACE}
    (request,) = [span for span in spans if span.parent == CALLER]
    assert (request.attributes["outcome"], request.attributes["rows"]) == ("OK", 1)


class Failing(FakeBackend):
    """Fails on images, once it has been told to."""

    failing = False

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        if self.failing:
            raise BackendFailed("it failed.")
        return await super().encode_image(pixels)


async def test_a_failure_is_marked_in_the_spans_it_passes_and_a_fault_of_the_caller_in_none(
    tmp_path: Path,
) -> None:
    backend = Failing(DIM)
    async with traced_service(tmp_path, backend) as (running, traced):
        backend.failing = True
        assert await classify(running, SAMPLED) == 502
        failed = {span.name: span.error for span in await ended(traced, 4) if span.failed}
        assert failed == dict.fromkeys(("/classify", "batch"), "backend_failed")
        answer = await running.client.post("/classify", content=b"{", headers={"traceparent": SAMPLED})
        assert answer.status_code >= 400
        await eventually(lambda: sum(span.parent == CALLER for span in traced.spans()) == 2)
        assert not [span for span in traced.spans() if span.parent == CALLER][-1].failed


async def test_a_batch_of_two_traced_requests_is_a_span_of_one_and_it_and_the_other_lead_to_each_other(
    tmp_path: Path,
) -> None:
    def sent(running: Running, seed: int, headers: dict[str, str]) -> asyncio.Task[Any]:
        return asyncio.create_task(
            running.client.post("/embed", files=form([png(seed)], {}), headers=headers)
        )

    backend = Gated()
    async with traced_service(tmp_path, backend, images=BatchPolicy(2)) as (running, traced):
        backend.gate.clear()
        requests = [sent(running, 0, {})]  # the others wait for its batch
        await eventually(lambda: backend.running == 1)
        for seed, trace in ((1, TRACE), (2, "f" * 32)):
            requests.append(sent(running, seed, {"traceparent": SAMPLED.replace(TRACE, trace)}))
        await eventually(lambda: [span.name for span in traced.spans()].count("decode") == 2)
        backend.gate.set()
        await asyncio.gather(*requests)
        spans = await ended(traced, 5)
    (batch,) = [span for span in spans if span.name == "batch"]
    traces = {span.trace_id: span for span in spans if span.name == "/embed"}
    assert batch.attributes["rows"] == 2
    assert batch.parent == traces.pop(batch.trace_id).id
    (linked,) = traces.values()
    assert (batch.links, linked.links) == ({linked.id}, {batch.id})


async def test_a_call_to_another_server_gets_a_traceparent_if_and_only_if_the_request_is_traced() -> None:
    with tracing() as traced:
        with span("triton", kind=SpanKind.CLIENT):
            assert headers() == {}
        begin(SAMPLED)
        with span("triton", kind=SpanKind.CLIENT):
            sent = headers()
    (made,) = traced.spans()
    assert (made.name, made.kind, made.trace_id) == ("triton", "CLIENT", TRACE)
    assert sent == {"traceparent": f"00-{TRACE}-{made.id}-01"}


async def test_work_that_fails_or_is_cancelled_says_so() -> None:
    async def hangs() -> None:
        with span("triton"):
            await asyncio.sleep(60)

    with tracing() as traced:
        begin(SAMPLED)
        with pytest.raises(BackendUnavailable), span("triton"):
            raise BackendUnavailable("it is gone.")
        hanging = asyncio.create_task(hangs())
        await asyncio.sleep(0)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert [made.error for made in traced.spans()] == ["backend_unavailable", "cancelled"]


def test_work_after_the_end_of_a_request_is_not_traced() -> None:
    with tracing() as traced:
        request = begin(SAMPLED)
        assert request
        request.end()
        with span("late") as made:
            assert made is None
    assert len(traced.spans()) == 1

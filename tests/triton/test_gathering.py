"""Rows of many requests, gathered on their way to Triton."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from clipserve.engine.backend import Backend, Vector
from clipserve.engine.triton.message import TritonCall
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from clipserve.wiring.backends import open_backend
from tests.support.waiting import until
from tests.triton.backends import STOPPING
from tests.triton.stand_in import MANIFEST, StandIn


@asynccontextmanager
async def gathering(
    *servers: StandIn,
    metrics: Metrics | None = None,
    calls: int = 2,
    texts: int | None = None,
) -> AsyncIterator[Backend]:
    """The backend that settings ask for, on servers that stand in for Triton, for `calls` at a time each."""
    urls = tuple(server.url for server in servers)
    settings = ModelSettings(backend="triton", triton_url=urls, max_batch_texts=texts)
    for model in (model for server in servers for model in server.models.values()):
        model.instance_group[0].count = calls
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipserve.engine.triton.expected.CALLS_AN_INSTANCE", 1)
        backend = open_backend(lambda: None, Path("unused"), MANIFEST, settings, metrics or Metrics())
        try:
            await backend.start()
            yield backend
        finally:
            await backend.aclose()


async def text(backend: Backend) -> Vector:
    """The vector of one text, for a request of its own."""
    enter(RequestContext("a"))
    vectors = await backend.encode_text(np.ones((1, 8), np.int32), np.full(1, 8, np.int32))
    return np.asarray(vectors[0], np.float32)


@pytest.mark.parametrize(
    ("takes", "chosen", "rows", "calls"),
    [
        pytest.param(7, None, 15, [7, 7, 1], id="what the model takes"),
        pytest.param(512, 4, 10, [4, 4, 2], id="what is set"),
        pytest.param(512, None, 600, [256, 256, 88], id="what is usual"),
        pytest.param(512, 300, 600, [300, 300], id="more than usual, if it is set"),
    ],
)
async def test_a_call_has_at_most_the_rows(
    one: StandIn, takes: int, chosen: int | None, rows: int, calls: list[int]
) -> None:
    for model in one.models.values():
        model.max_batch_size = takes
    metrics = Metrics()
    async with gathering(one, calls=1, texts=chosen, metrics=metrics) as backend:
        vectors = await backend.encode_text(np.ones((rows, 8), np.int32), np.ones(rows, np.int32))
    assert (vectors.shape, one.calls) == ((rows, MANIFEST.embed_dim), calls)
    assert metrics.registry.get_sample_value("clipserve_batch_rows_sum", {"tower": "text"}) == rows


async def test_more_rows_than_the_model_takes_are_refused_if_they_are_set(one: StandIn) -> None:
    most = one.models["demo_text"].max_batch_size
    with pytest.raises(BackendUnavailable, match=rf"takes {most} rows a call, and CLIPSERVE_MAX_BATCH_TEXTS"):
        async with gathering(one, texts=most + 1):
            pass


async def test_what_a_failed_call_held_is_freed_without_the_garbage_collector(one: StandIn) -> None:
    async with gathering(one) as backend:
        gc.collect()
        gc.disable()
        try:
            one.failure = STOPPING
            results = await asyncio.gather(*(text(backend) for _ in range(3)), return_exceptions=True)
            assert {type(result) for result in results} == {BackendUnavailable}
            del results
            await until(lambda: not any(isinstance(each, TritonCall) for each in gc.get_objects()))
        finally:
            gc.enable()


@pytest.mark.parametrize(("count", "gpus", "calls"), [(1, 1, 2), (2, 1, 4), (2, 0, 4), (1, 4, 8)])
async def test_there_are_two_calls_at_a_time_for_each_instance_on_each_gpu(
    one: StandIn, count: int, gpus: int, calls: int
) -> None:
    for model in one.models.values():
        model.instance_group[0].count = count
        model.instance_group[0].gpus.extend(range(gpus))
    settings = ModelSettings(backend="triton", triton_url=(one.url,))
    metrics = Metrics()
    backend = open_backend(lambda: None, Path("unused"), MANIFEST, settings, metrics)
    await backend.start()
    for tower in ("image", "text"):
        assert metrics.registry.get_sample_value("clipserve_workers", {"tower": tower}) == calls
    await backend.aclose()

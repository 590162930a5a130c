"""`X-Priority: bulk` on /embed: behind all others, never refused for time, and few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from clipserve.engine.backend import Embeddings, Lengths, TokenIds
from clipserve.telemetry.request import is_bulk
from tests.rest.gated import Gated
from tests.rest.raw import requests_counted
from tests.support.service import Running, eventually, serving

BULK = {"x-priority": "bulk"}


class Noting(Gated):
    """Notes of each call of texts whether its rows give way to others."""

    def __init__(self) -> None:
        super().__init__()
        self.bulk: list[bool] = []

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.bulk.append(is_bulk())
        return await super().encode_text(token_ids, lengths)


@pytest.fixture
def backend() -> Noting:
    return Noting()


@pytest.fixture
async def running(toy: Path, backend: Noting) -> AsyncIterator[Running]:
    """The engine takes five seconds a text, as far as admission knows, and one second may be waited."""
    async with serving(backend, toy, max_queue_seconds=1.0, deadline_seconds=1.0) as running:
        (model,) = running.gateway.models.values()
        model.admission.learn_at_start("text", 1, 5.0)
        yield running


async def embed(running: Running, *, bulk: bool, path: str = "/embed") -> httpx.Response:
    return await running.client.post(path, json={"texts": ["a"]}, headers=BULK if bulk else {})


async def test_a_bulk_request_waits_where_another_is_refused_and_its_rows_give_way(
    running: Running, backend: Noting
) -> None:
    backend.gate.clear()
    ahead = [asyncio.create_task(embed(running, bulk=True)) for _ in range(2)]
    await eventually(lambda: backend.running == 2)
    (model,) = running.gateway.models.values()
    assert model.admission.in_flight == {"image": 0, "text": 0}, "they are ahead of nobody"
    with model.admission.admit(texts=1):
        assert (await embed(running, bulk=False)).status_code == 429
    await asyncio.sleep(1.5)  # longer than the deadline of others
    backend.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*ahead)] == [200, 200]
    assert backend.bulk[-2:] == [True, True]


async def test_one_address_has_half_of_the_four_bulk_requests(running: Running, backend: Noting) -> None:
    backend.gate.clear()
    held = [asyncio.create_task(embed(running, bulk=True)) for _ in range(2)]
    await eventually(lambda: backend.running == 2)
    refused = await embed(running, bulk=True)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert "you have 2 bulk requests, and 1 more do not fit" in refused.json()["detail"]
    backend.gate.set()
    await asyncio.gather(*held)
    assert (await embed(running, bulk=True)).status_code == 200, "places are given back"


async def test_the_header_means_nothing_elsewhere_and_alone_gives_a_request_its_label(
    running: Running, backend: Noting
) -> None:
    for path in ("/v2/embed", "/tokenize"):
        await embed(running, bulk=True, path=path)
    assert True not in backend.bulk
    await embed(running, bulk=True)
    metrics = running.gateway.metrics
    await eventually(lambda: requests_counted(metrics).get(("/embed bulk", "200")) == 1)

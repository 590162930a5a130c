"""A backend that raises, hangs or miscounts; clients that leave; a service that is not ready. Each time the next
request is served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client import generate_latest

from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from loadtests.fake_backend import FakeBackend
from tests.engine.support import batched
from tests.support import DIM, eventually, png, serving


class Unruly(FakeBackend):
    """A fake whose image encoder misbehaves as `mood` says."""

    mood = "good"
    running = 0

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.running += 1
        try:
            if self.mood == "hang":
                await asyncio.sleep(3600)
            if self.mood == "raise":
                raise RuntimeError("out of memory at 0x7f: /secret/path")
            vectors = await super().encode_image(pixels)
        finally:
            self.running -= 1
        if self.mood == "nan":
            return np.full_like(vectors, np.nan)
        return vectors[:-1] if self.mood == "few" else vectors

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        if self.mood == "text":
            raise RuntimeError
        return await super().encode_text(token_ids, lengths)


@pytest.fixture
def backend() -> Unruly:
    return Unruly(DIM)


@pytest.mark.parametrize(
    ("mood", "status", "code"),
    [
        ("raise", 502, "backend_failed"),
        ("few", 502, "backend_failed"),
        ("nan", 502, "backend_failed"),
        ("text", 502, "backend_failed"),
        ("hang", 504, "deadline_exceeded"),
    ],
)
async def test_each_failure_has_its_code_and_the_next_request_is_served(
    toy: Path, backend: Unruly, mood: str, status: int, code: str
) -> None:
    seconds, rounds = (3, 2) if mood == "hang" else (60, 3)  # a busy machine may take long for an answer
    async with serving(batched(backend), toy, deadline_seconds=seconds) as running:
        for round_ in range(rounds):
            backend.mood = mood
            answers = await asyncio.gather(
                *(running.classify(png(i), labels=[f"{round_}-{i}", "b"]) for i in range(6))
            )
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(status, code)}
            assert not any("secret" in answer.text for answer in answers)
            backend.mood = "good"
            assert (await running.classify(png())).status_code == 200
    assert backend.running == 0


async def test_a_fault_of_ours_is_told_as_any_other_problem(toy: Path, backend: Unruly) -> None:
    async with serving(backend, toy) as running:
        backend.mood = "raise"  # with no batcher in between, which would take it for the encoder's
        answer = await running.classify(png())
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text
        metrics = generate_latest(running.gateway.metrics.registry).decode()
        assert 'endpoint="/classify",outcome="internal_error"' in metrics


async def test_readiness_follows_the_backend(toy: Path, backend: Unruly) -> None:
    async with serving(backend, toy) as running:
        await backend.aclose()
        assert (await running.client.get("/readyz")).status_code == 503
        assert (await running.client.get("/livez")).status_code == 200
        answer = await running.classify(png())
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        await backend.start()
        assert (await running.client.get("/readyz")).status_code == 200


async def test_overload_is_refused_at_once_with_a_measured_hint(toy: Path) -> None:
    class Slow(FakeBackend):
        """Takes 0.05 s a row, or more; with the gate closed it does not answer."""

        gate = asyncio.Event()
        gate.set()

        async def encode_image(self, pixels: Pixels) -> Embeddings:
            vectors = await super().encode_image(pixels)
            await self.gate.wait()
            return vectors

    slow = Slow(DIM, delay=0.05)
    async with serving(batched(slow, images=1), toy, max_queue_seconds=0.3) as running:
        value = running.gateway.metrics.registry.get_sample_value
        for i in range(3):
            await running.embed(png(i))
        slow.gate.clear()
        asking = [asyncio.create_task(running.embed(png(i))) for i in range(40)]

        def answered() -> list[httpx.Response]:
            return [task.result() for task in asking if task.done()]

        # The encoder is closed, so whoever is answered now was refused at once.
        await eventually(
            lambda: len(answered()) + (value("clipserve_rows_in_flight", {"tower": "image"}) or 0) == 40
        )
        refused = answered()
        assert {answer.status_code for answer in refused} == {429}
        assert {answer.json()["code"] for answer in refused} == {"overloaded"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        # 0.05 s or more were measured for each row: no more than 7 rows fit into 0.3 s, and the first always does.
        assert 1 <= 40 - len(refused) <= 7
        slow.gate.set()
        answers = await asyncio.gather(*asking)
        assert [answer.status_code for answer in answers].count(200) == 40 - len(refused)
        assert (await running.embed(png())).status_code == 200

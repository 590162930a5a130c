"""What is charged: work that is done, and not what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest
from clipserve.application.inference import Inference
from clipserve.errors import Overloaded, RateLimited
from tests.support.service import Recording, inference_of, png, served_model, write_toy_artifact
from tests.support.waiting import until

Ask = Callable[[Inference], Awaitable[object]]
ASKED: dict[str, Ask] = {
    "embed": lambda inference: inference.embed(EmbedRequest([png()], ["a"])),
    "classify": lambda inference: inference.classify(ClassifyRequest([png()], ["a"])),
    "similarity": lambda inference: inference.similarity(SimilarityRequest(texts=["a"], to_texts=["b"])),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
async def test_what_is_refused_as_too_much_is_not_charged(tmp_path: Path, ask: Ask) -> None:
    backend = Recording()
    model = served_model(await write_toy_artifact(tmp_path), backend)
    await model.start(tmp_path)
    charged: list[int] = []

    async def charge(rows: int) -> None:
        charged.append(rows)

    inference = inference_of({"toy": model}, charge=charge)
    for lane in ("image", "text"):
        model.admission.learn_at_start(lane, 1, 100.0)
    backend.gate.clear()
    first = asyncio.ensure_future(ask(inference))
    await until(lambda: bool(charged), 300)
    async with asyncio.timeout(300):  # what is admitted waits for the gate
        for _ in range(3):
            with pytest.raises(Overloaded):
                await ask(inference)
    assert len(charged) == 1
    backend.gate.set()
    await first


async def test_what_the_rate_refuses_is_not_in_flight_any_more(tmp_path: Path) -> None:
    backend = Recording()
    model = served_model(await write_toy_artifact(tmp_path), backend)
    await model.start(tmp_path)
    model.admission.learn_at_start("text", 1, 100.0)

    async def charge(_: int) -> None:
        raise RateLimited("used up", retry_after=1)

    inference = inference_of({"toy": model}, charge=charge)
    for _ in range(3):
        with pytest.raises(RateLimited):
            await inference.embed(EmbedRequest(texts=["a"]))

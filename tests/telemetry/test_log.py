"""Log lines lead from an answer to what went wrong behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from clipserve.engine.backend import Embeddings, Pixels
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from loadtests.fake_backend import FakeBackend
from tests.support.logs import Log
from tests.support.service import DIM, Running, eventually, form, png, serving, write_toy_artifact


def lines(log: Log, event: str) -> list[dict[str, Any]]:
    return [line for line in log.lines if line["event"] == event]


class Failing(FakeBackend):
    """Its calls for images fail when they are told to."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.failing = False
        self.fail = asyncio.Event()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        if self.failing:
            await self.fail.wait()
            raise RuntimeError("out of memory")
        return await super().encode_image(pixels)


class Counting(Batched):
    """Counts the images that have come to it."""

    images = 0

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.images += len(pixels)
        return await super().encode_image(pixels)


async def ask(running: Running, request_id: str) -> int:
    answer = await running.client.post(
        "/embed", files=form([png()], {}), headers={"x-request-id": request_id}
    )
    return answer.status_code


async def test_a_failure_inside_the_engine_is_logged_with_every_request_that_sees_it(
    tmp_path: Path, written: Log
) -> None:
    backend = Failing()
    batched = Counting(backend, BatchPolicy(4), BatchPolicy(4), Metrics())
    async with serving(batched, await write_toy_artifact(tmp_path)) as running:
        backend.failing, batched.images = True, 0
        ids = [f"request-{i}" for i in range(6)]
        asked = [asyncio.create_task(ask(running, each)) for each in ids]
        await eventually(lambda: batched.images == 6)
        backend.fail.set()
        assert await asyncio.gather(*asked) == [502] * 6
    failures = lines(written, "backend_raised")
    assert {each for line in failures for each in line["request_ids"]} == set(ids)
    assert max(len(line["request_ids"]) for line in failures) > 1, "no batch had rows of several requests"
    answered = lines(written, "request")
    assert {line["request_id"] for line in answered if line["outcome"] == "backend_failed"} == set(ids)


def test_a_line_is_json_with_level_time_and_request_id(written: Log) -> None:
    enter(RequestContext("a"))
    logger.debug("left out")
    logger.warning("said", reason="why")
    enter(None)
    (line,) = written.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "said", "reason": "why", "level": "warning", "request_id": "a"}

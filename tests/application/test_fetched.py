"""Requests with images by URL: what is refused before a fetch, what waits, and what one caller leaves to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipserve.api.answers import Embeddings
from clipserve.api.fields import ImageUrl
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.charging import Charge
from clipserve.application.fetched import QUEUED, FetchedImages
from clipserve.application.inference import Inference
from clipserve.application.served_model import ServedModel
from clipserve.errors import ClipError, ImageNotFetched, Overloaded, RateLimited, TooMany
from clipserve.fetching.fetcher import MAX_BYTES, Fetcher
from clipserve.fetching.hosts import Host
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from loadtests.fake_backend import FakeBackend
from tests.fetching.support import HEAD, Listener, listening
from tests.fetching.test_fetcher import silent
from tests.support.service import DIM, inference_of, png, served_model, write_toy_artifact
from tests.support.waiting import until

PHOTO = png()
LENGTH = 5_000_000
LARGE = HEAD + b"Content-Length: %d\r\n\r\n" % LENGTH + PHOTO + bytes(LENGTH - len(PHOTO))


@dataclass
class Service:
    """The use cases of one model, with images from `host`."""

    inference: Inference
    model: ServedModel
    host: Listener

    def url(self, path: str = "/cat.png") -> ImageUrl:
        return ImageUrl(f"http://a.test:{self.host.port}{path}")

    def asked(self, caller: str, *urls: ImageUrl, bulk: bool = False) -> asyncio.Task[Embeddings | ClipError]:
        """The answer to a request of this caller's."""

        async def ask() -> Embeddings | ClipError:
            deadline = None if bulk else time.monotonic() + 120
            enter(RequestContext("id", deadline=deadline, address=caller, bulk=bulk))
            request = EmbedRequest(urls)
            return await (self.inference.embed_item(request) if bulk else self.inference.embed(request))

        return asyncio.create_task(ask())


@asynccontextmanager
async def service(
    folder: Path, charge: Charge | None = None, seconds: float = 30.0, limits: RequestLimits | None = None
) -> AsyncIterator[Service]:
    model = served_model(await write_toy_artifact(folder), FakeBackend(DIM))
    await model.start(folder)
    async with listening() as host:
        host.answers = {b"/cat.png": HEAD + b"\r\n" + PHOTO, b"/silent": silent, b"/large": LARGE}
        hosts = [Host.parse(f"http://a.test:{host.port}=127.0.0.0/8")]
        fetcher = Fetcher(hosts, 20_000_000, Metrics(), seconds=seconds, resolve=lambda _, __: ["127.0.0.1"])
        inference = inference_of({"toy": model}, limits, charge=charge, fetched=FetchedImages(fetcher))
        yield Service(inference, model, host)


async def test_what_the_rate_refuses_is_not_fetched(tmp_path: Path) -> None:
    async def charge(_: int) -> None:
        raise RateLimited("used up", retry_after=1)

    async with service(tmp_path, charge) as running:
        for _ in range(3):
            with pytest.raises(RateLimited):
                await running.asked("a", running.url())
        assert running.host.connections == 0


async def test_what_admission_refuses_is_neither_charged_nor_fetched(tmp_path: Path) -> None:
    charged: list[int] = []

    async def charge(rows: int) -> None:
        charged.append(rows)

    async with service(tmp_path, charge) as running:
        running.model.admission.learn_at_start("image", 1, 100.0)
        with running.model.admission.admit(images=1, refuse=False):
            with pytest.raises(Overloaded):
                await running.asked("a", running.url())
            assert (charged, running.host.connections) == ([], 0)
        running.model.admission.learn_at_start("image", 10_000, 0.1)
        await running.asked("a", running.url(), running.url("/none"))
        assert charged == [2]


async def test_a_slow_host_does_not_look_like_slow_encoders(tmp_path: Path) -> None:
    async with service(tmp_path, seconds=1.0) as running:
        asked = running.asked("a", running.url(), *[running.url("/silent")] * 9)
        await until(lambda: running.host.connections >= 10, 300)
        with running.model.admission.admit(images=1) as counted:
            assert counted.rows == {"image": 1}, "nothing is ahead"
        await asked
        for _ in range(3):
            await running.asked("b", running.url())
        running.model.admission.admit(images=1)


async def test_a_request_of_more_than_the_memory_is_answered(tmp_path: Path) -> None:
    number = MAX_BYTES // LENGTH + 7
    async with service(tmp_path) as running:
        answer = await running.asked("a", *[running.url("/large")] * number)
    assert isinstance(answer, Embeddings)
    assert [each for each in answer.results if isinstance(each, ClipError)] == []
    assert len(answer.results) == number


async def test_images_of_a_bulk_request_wait_for_memory_and_places(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        answers = await asyncio.gather(
            *(running.asked("a", running.url("/large"), bulk=True) for _ in range(64))
        )
    assert {type(answer) for answer in answers} == {Embeddings}


async def test_one_caller_has_half_of_the_queue_and_holds_up_nobody(tmp_path: Path) -> None:
    async with service(tmp_path, seconds=60.0) as running:
        crowd = [running.asked("a", *[running.url("/silent")] * 32) for _ in range(40)]
        refused = [task for task in crowd if task in await refused_of(crowd, 40 - QUEUED // 2 // 32)]
        assert {type(task.exception()) for task in refused} == {Overloaded}
        assert all("images by URL, and 32 more do not fit" in str(task.exception()) for task in refused)
        assert isinstance(await running.asked("b", running.url()), Embeddings)
        assert isinstance(await running.asked("a", running.url(), bulk=True), Embeddings)
        assert running.host.connections <= 32 + 2
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert isinstance(await running.asked("a", running.url()), Embeddings), "all is free again"


async def refused_of(tasks: list[asyncio.Task[Embeddings | ClipError]], number: int) -> set[object]:
    """So many that have ended."""
    while len(done := {task for task in tasks if task.done()}) < number:
        await asyncio.sleep(0.01)
    return set(done)


async def test_pixels_of_images_that_come_one_by_one_are_counted_together(tmp_path: Path) -> None:
    limits = RequestLimits(max_request_pixels=5 * 40 * 30)
    async with service(tmp_path, limits=limits) as running:
        assert len((await running.inference.embed(EmbedRequest([running.url()] * 5))).results) == 5
        with pytest.raises(TooMany, match="pixels"):
            await running.inference.embed(EmbedRequest([*[running.url()] * 5, PHOTO]))


async def test_an_error_of_an_image_has_its_place_in_the_request(tmp_path: Path) -> None:
    async with service(tmp_path) as running:
        running.host.answers[b"/text"] = HEAD + b"\r\nno image"
        urls = [running.url(), running.url("/text"), running.url("/cat.png"), ImageUrl("http://b.test/")]
        answer = await running.asked("a", *urls)
    assert isinstance(answer, Embeddings)
    errors = [each for each in answer.results if isinstance(each, ClipError)]
    assert [each.index for each in errors] == [1, 3]
    assert isinstance(errors[1], ImageNotFetched)

"""Decoding stays within its threads and its memory, and an image's share is free when its decoding has ended."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from clipserve.application.decoding import DecodeLimits, Decoders, DecodeThreads
from clipserve.clip.images import ImageHeader, ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.concurrency import DaemonExecutor
from clipserve.engine.backend import Pixels
from clipserve.errors import BackendUnavailable, ClipError, ImageTooLarge, UndecodableImage
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.support import png
from tests.virtual_time import virtual_time
from tests.waiting import settled

SPEC, LIMITS = ImageSpec(size=8), ImageLimits()
SMALL = png(1)


class ByHand(Executor):
    """Jobs begin at once, and end when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.started: list[Future[Any]] = []

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.started.append(future)
        self.jobs.append((future, functools.partial(job, *args, **kwargs)))
        return future

    async def end(self, position: int = 0) -> None:
        future, job = self.jobs.pop(position)
        try:
            future.set_result(job())
        except ClipError as error:
            future.set_exception(error)
        await settled()


def decoded(image: bytes, spec: ImageSpec, limits: ImageLimits, _: ImageHeader) -> Pixels:
    """Whatever was announced of it."""
    return decode_pixels(image, spec, limits)


class Office:
    """Decoders of two threads and 100 bytes, and the images asked of them."""

    def __init__(self, seconds: float | None = None) -> None:
        self.executor, self.metrics = ByHand(), Metrics()
        place = DecodeThreads(self.executor, decoded)
        self.decoders = Decoders(place, DecodeLimits(2, 100, seconds), self.metrics)
        self.tasks: list[asyncio.Task[Pixels]] = []
        self._requests: dict[str, RequestContext] = {}

    async def ask(self, size: int, owner: str = "a", image: bytes = SMALL) -> asyncio.Task[Pixels]:
        async def decode() -> Pixels:
            enter(self._requests.setdefault(owner, RequestContext(owner)))
            return await self.decoders.decode(image, ImageHeader(10, size), SPEC, LIMITS)

        task = asyncio.create_task(decode())
        self.tasks.append(task)
        await settled()
        return task

    @property
    def taken(self) -> tuple[float | None, float | None]:
        """Bytes, and images that wait."""
        registry = self.metrics.registry
        return (
            registry.get_sample_value("clipserve_decode_bytes"),
            registry.get_sample_value("clipserve_decode_waiting"),
        )


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    while office.executor.jobs:
        await office.executor.end()
    await asyncio.gather(*office.tasks, return_exceptions=True)
    assert office.taken == (0, 0)


async def test_as_many_are_decoded_at_a_time_as_there_are_threads(office: Office) -> None:
    for owner in "abc":
        await office.ask(1, owner)
    assert len(office.executor.jobs) == 2
    assert office.taken == (2, 1)
    await office.executor.end()
    assert len(office.executor.jobs) == 2
    assert office.taken == (2, 0)


async def test_an_image_that_is_cancelled_as_its_turn_comes_gives_its_place_to_the_next(
    office: Office,
) -> None:
    for owner in "abcd":
        await office.ask(1, owner)
    ended, job = office.executor.jobs.pop(0)
    ended.set_result(job())  # the event loop will hear of it
    office.tasks[2].cancel()  # whose turn it then is
    await settled()
    assert office.tasks[0].done()
    assert office.tasks[2].cancelled()
    assert len(office.executor.jobs) == 2, "of the second and the last"
    assert len(office.executor.started) == 3
    assert office.taken == (2, 0)


async def test_memory_is_taken_up_to_the_limit_and_not_beyond(office: Office) -> None:
    await office.ask(60, "a")
    await office.ask(40, "b")
    assert office.taken == (100, 0)
    await office.executor.end()
    await office.ask(61, "c")
    assert office.taken == (40, 1)
    await office.executor.end()
    assert office.taken == (61, 0)


async def test_an_image_that_takes_more_than_there_is_is_refused_and_named(office: Office) -> None:
    task = await office.ask(101)
    with pytest.raises(
        ImageTooLarge, match=r"takes 101 bytes of memory in its format; the limit is 100\."
    ) as caught:
        await task
    assert (caught.value.limit, caught.value.actual) == (100, 101)
    assert office.executor.jobs == []
    assert (await office.ask(100)).done() is False


async def test_an_error_is_raised_and_its_share_is_free(office: Office) -> None:
    task = await office.ask(100, image=b"\x89PNG\r\n\x1a\n")
    await office.executor.end()
    with pytest.raises(UndecodableImage):
        await task
    assert office.taken == (0, 0)


async def test_what_a_cancelled_request_has_begun_takes_its_share_until_it_ends(office: Office) -> None:
    task = await office.ask(100)
    task.cancel()
    await settled()
    assert task.cancelled()
    assert office.taken == (100, 0)
    await office.ask(1, "b")
    assert office.taken == (100, 1)
    await office.executor.end()
    assert office.taken == (1, 0)


async def test_a_waiting_image_of_a_cancelled_request_leaves_the_queue(office: Office) -> None:
    await office.ask(50, "a")
    large = await office.ask(100, "b")
    await office.ask(50, "c")
    assert office.taken == (50, 2)
    large.cancel()
    await settled()
    assert large.cancelled()
    assert office.taken == (100, 0)


@virtual_time
async def test_an_image_that_takes_too_long_is_given_up_and_keeps_its_share_until_it_ends() -> None:
    office = Office(seconds=0.05)
    task = await office.ask(60)
    with pytest.raises(ImageTooLarge, match=r"takes longer than the limit of 0\.05 s\.") as caught:
        await task
    assert caught.value.limit == 0.05
    assert office.taken == (60, 0)
    await office.executor.end()
    assert office.taken == (0, 0)


@virtual_time
async def test_the_time_that_an_image_waits_for_its_turn_does_not_count() -> None:
    office = Office(seconds=0.05)
    await office.ask(100)
    waiting = await office.ask(100)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await office.executor.end()
    await office.executor.end()
    assert (await waiting).shape == (8, 8, 3)


async def test_a_request_of_one_image_waits_for_no_more_of_a_large_one_than_what_runs(office: Office) -> None:
    for _ in range(8):
        await office.ask(100, "bombs")
    photo = await office.ask(10, "photo")
    await office.executor.end()
    await office.executor.end()
    assert photo.done()


async def test_the_error_of_an_image_that_was_given_up_is_not_logged() -> None:
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    executor = ByHand()
    decoders = Decoders(DecodeThreads(executor), DecodeLimits(1, 100), Metrics())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await decoders.decode(b"no image", ImageHeader(1, 1), SPEC, LIMITS)
    await executor.end()
    gc.collect()
    await settled()
    assert logged == []


async def test_a_thread_that_ends_after_the_loop_is_no_error() -> None:
    begin, ended = threading.Event(), threading.Event()

    class Late(ThreadPoolExecutor):
        def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(lambda: begin.wait(60) and job())
            future.add_done_callback(lambda _: ended.set())
            return future

    def run() -> None:
        async def leave() -> None:
            decoders = Decoders(DecodeThreads(Late(1)), DecodeLimits(1, 100), Metrics())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await decoders.decode(SMALL, ImageHeader(1, 1), SPEC, LIMITS)

        asyncio.run(leave())

    await asyncio.to_thread(run)
    begin.set()
    assert await asyncio.to_thread(ended.wait, 60)


async def test_images_that_wait_as_the_threads_are_shut_down_are_errors() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def decode(image: bytes, spec: ImageSpec, limits: ImageLimits, _: ImageHeader) -> Pixels:
        begun.set()
        go_on.wait(60)
        return decode_pixels(image, spec, limits)

    with DaemonExecutor(1, "decode") as threads:
        decoders = Decoders(DecodeThreads(threads, decode), DecodeLimits(1, 100), Metrics())
        jobs = [
            asyncio.create_task(decoders.decode(SMALL, ImageHeader(1, 1), SPEC, LIMITS)) for _ in range(3)
        ]
        await asyncio.to_thread(begun.wait, 60)
    go_on.set()
    async with asyncio.timeout(60):
        assert (await jobs[0]).shape == (8, 8, 3)
        for waiting in jobs[1:]:
            with pytest.raises(BackendUnavailable, match="shutting down"):
                await waiting


async def test_a_header_is_read_in_turn_too_and_takes_as_much_as_its_file(office: Office) -> None:
    await office.ask(100, "a")
    read = asyncio.create_task(office.decoders.read_header(SMALL, SPEC, LIMITS))
    await settled()
    assert office.taken == (100, 1)
    await office.executor.end()
    assert office.taken == (100, 0), "a file that is larger than all memory may have all of it"
    await office.executor.end()
    assert await read == read_header(SMALL, SPEC, LIMITS)

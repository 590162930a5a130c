"""Decoding stays within its places and its memory, and an image's share is free when its decoding has ended."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from clipserve.application.decoding.decoders import Decoders, Look, Result, Task, in_thread, look_at
from clipserve.clip.images import ImageHeader, ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ClipError, ImageTooLarge, UndecodableImage
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.support.service import png
from tests.support.waiting import settled

SPEC, LIMITS = ImageSpec(size=8), ImageLimits()
PIXELS = np.zeros((8, 8, 3), np.uint8)


class ByHand:
    """A place where the decoding of images, whose bytes say what memory it takes, ends when the test says so."""

    def __init__(self) -> None:
        self.running: list[tuple[Task, Callable[[Result], None]]] = []

    def start(self, task: Task, ended: Callable[[Result], None]) -> None:
        self.running.append((task, ended))

    async def end(self, error: ClipError | None = None) -> None:
        """The first one ends: it is decoded if there is room."""
        task, ended = self.running.pop(0)
        takes = int(task.image)
        ended(error or Look(ImageHeader(10 * takes, takes), PIXELS if takes <= task.room else None))
        await settled()


class Office:
    """Decoders with two places and 100 bytes, so that an image of 50 is decoded at once."""

    def __init__(self) -> None:
        self.place, self.metrics = ByHand(), Metrics()
        self.decoders = Decoders(self.place.start, 2, 100, self.metrics)
        self.tasks: list[asyncio.Task[Any]] = []
        self._requests: dict[str, RequestContext] = {}

    async def ask(self, takes: int, request: str = "a", caller: str = "") -> asyncio.Task[Any]:
        async def decode() -> Any:
            enter(self._requests.setdefault(request, RequestContext(request, address=caller)))
            return await self.decoders.decode(str(takes).encode(), SPEC, LIMITS)

        self.tasks.append(asyncio.create_task(decode()))
        await settled()
        return self.tasks[-1]

    @property
    def taken(self) -> tuple[float | None, float | None]:
        """Bytes, and images that wait."""
        value = self.metrics.registry.get_sample_value
        return value("clipserve_decode_bytes"), value("clipserve_decode_waiting")

    @property
    def running(self) -> list[int]:
        return [int(task.image) for task, _ in self.place.running]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    while office.place.running:
        await office.place.end()
    await asyncio.gather(*office.tasks, return_exceptions=True)
    assert office.taken == (0, 0)


async def test_as_many_are_decoded_at_a_time_as_there_are_places(office: Office) -> None:
    tasks = [await office.ask(takes) for takes in (10, 11, 12)]
    assert (office.running, office.taken) == ([10, 11], (100, 1))
    await office.place.end()
    assert office.running == [11, 12]
    pixels, of_file = await tasks[0]
    assert (pixels is PIXELS, of_file) == (True, 100)


async def test_a_large_image_is_measured_and_then_waits_for_memory_without_a_place(office: Office) -> None:
    large = await office.ask(80, "large")
    await office.ask(10, "small")
    await office.place.end()
    assert (office.running, office.taken) == ([10], (50, 1)), "80 do not fit beside the 50 of another"
    await office.ask(20, "later")
    assert office.running == [10], "it would pass the large one, and others after it for ever"
    await office.place.end()
    assert (office.running, office.taken) == ([80], (80, 1))
    await office.place.end()
    assert (await large)[1] == 800
    assert office.running == [20]


async def test_an_image_that_takes_more_than_there_is_is_refused_and_named(office: Office) -> None:
    task = await office.ask(101)
    await office.place.end()
    with pytest.raises(
        ImageTooLarge, match=r"takes 101 bytes of memory in its format; the limit is 100\."
    ) as caught:
        await task
    assert (caught.value.limit, caught.value.actual) == (100, 101)
    assert office.taken == (0, 0)


async def test_an_image_that_says_two_sizes_is_broken(office: Office) -> None:
    task = await office.ask(80)
    await office.place.end()
    office.place.running[0][1](Look(ImageHeader(10, 90), None))
    office.place.running.clear()
    with pytest.raises(UndecodableImage, match="two sizes"):
        await task


async def test_an_error_is_raised_and_its_share_is_free(office: Office) -> None:
    task = await office.ask(10)
    await office.place.end(UndecodableImage("broken"))
    with pytest.raises(UndecodableImage):
        await task
    assert office.taken == (0, 0)


async def test_what_a_cancelled_request_has_begun_takes_its_share_until_it_ends(office: Office) -> None:
    task = await office.ask(10)
    task.cancel()
    await settled()
    assert (task.cancelled(), office.taken) == (True, (50, 0))
    await office.place.end()
    assert office.taken == (0, 0)


async def test_a_waiting_image_of_a_cancelled_request_leaves_the_queue(office: Office) -> None:
    for takes in (10, 11, 12, 13):
        await office.ask(takes)
    office.tasks[2].cancel()
    await settled()
    assert office.taken == (100, 1)
    await office.place.end()
    assert office.running == [11, 13]


async def test_an_image_waits_for_one_of_each_other_caller_and_request(office: Office) -> None:
    await office.ask(1, "first"), await office.ask(2, "first")
    for takes in (11, 12, 13):
        await office.ask(takes, "many", "one")
    await office.ask(21, "single", "one")
    await office.ask(31, "other", "two")
    order = []
    while office.place.running:
        order.append(office.running[0])
        await office.place.end()
    assert order == [1, 2, 11, 31, 21, 12, 13]


async def test_the_error_of_an_image_that_was_given_up_is_not_logged() -> None:
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    office = Office()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await office.decoders.decode(b"10", SPEC, LIMITS)
    await office.place.end(UndecodableImage("broken"))
    gc.collect()
    await settled()
    assert logged == []


# In threads of this process.


async def test_threads_give_pixels_and_measure_what_is_too_large() -> None:
    decoders = Decoders(in_thread, 1, 10**9, Metrics())
    image = png(1)
    pixels, of_file = await decoders.decode(image, SPEC, LIMITS)
    np.testing.assert_array_equal(pixels, decode_pixels(image, SPEC, LIMITS))
    header = read_header(image, SPEC, LIMITS)
    assert of_file == header.pixels
    assert look_at(Task(image, SPEC, LIMITS, header.decode_bytes - 1)) == Look(header, None)
    with pytest.raises(UndecodableImage):
        await decoders.decode(image[:60], SPEC, LIMITS)

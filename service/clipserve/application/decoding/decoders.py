"""Decodes images within the limits of this process: a number at a time, and memory for all of them together.

One look. A decoder opens the image and decodes it at once if that takes little memory. Of a larger one it reports
the size, and is free for others; the image waits until there is room for it, and then is decoded. Callers take
turns at both, and so do the requests of a caller. Huge images, half a second each, leave half of the places to
others.

An image holds its bytes and its place until its decoding has really ended. A cancelled request does not wait for
that, but decoding goes on: decoders cannot be interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import numpy as np

from clipserve.clip.images import ImageHeader, ImageLimits, decode_rgb
from clipserve.clip.manifest import ImageSpec
from clipserve.engine.backend import Pixels
from clipserve.errors import BackendUnavailable, ImageTooLarge, UndecodableImage
from clipserve.quota import Quota
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import current
from clipserve.telemetry.tracing import span

DECODE_SECONDS = 5.0  # of CPU time, for one image in a process

# Bytes that an image may take without a report: about 2 megapixels of a JPEG or a PNG.
_ROOM = 24_000_000


class Task(NamedTuple):
    """An image, and the bytes of memory that decoding it may take."""

    image: bytes
    spec: ImageSpec
    limits: ImageLimits
    room: int


class Look(NamedTuple):
    """What a decoder found. `pixels`: uint8 [S, S, 3]; None: decoding takes more memory than it may."""

    header: ImageHeader
    pixels: Pixels | None


Result = Look | BaseException  # an error of `decode_rgb`


# Begins to decode, and returns at once. The function is called in a later turn of the event loop, and never twice.
Start = Callable[[Task, Callable[[Result], None]], None]


def in_thread(task: Task, ended: Callable[[Result], None]) -> None:
    """A `Start` for programs that have no use for processes."""

    def report(job: asyncio.Future[Look]) -> None:
        ended(job.exception() or job.result())

    asyncio.get_running_loop().run_in_executor(None, look_at, task).add_done_callback(report)


def look_at(task: Task) -> Look:
    """Decode in this thread. Raises the errors of `decode_rgb`."""
    header, rgb = decode_rgb(task.image, task.spec, task.limits, task.room)
    side = task.spec.size
    return Look(header, np.frombuffer(rgb, np.uint8).reshape(side, side, 3) if rgb else None)


class Decoders:
    """Decodes the images of all models: `places` at a time, which together may take `memory_bytes`."""

    def __init__(self, start: Start, places: int, memory_bytes: int, metrics: Metrics) -> None:
        self._start = start
        self._places = Quota("images that are decoded", places)
        self._bytes = Quota("bytes of images that are decoded", memory_bytes)
        self._room = min(_ROOM, memory_bytes // places)
        self._metrics = metrics
        metrics.decode_bytes.set_function(lambda: self._bytes.used)
        metrics.decode_waiting.set_function(lambda: self._bytes.waiting + self._places.waiting)

    async def decode(self, image: bytes, spec: ImageSpec, limits: ImageLimits) -> tuple[Pixels, int]:
        """Wait for this image's turn, and decode it: uint8 [S, S, 3], and the pixels of the file.

        Raises:
            ImageTooLarge: it takes more memory than all images may, or too long.
            UnsupportedFormat, ImageTooLarge, UndecodableImage: see `decode_rgb`.
        """
        with self._metrics.stage("decode"), span("decode"):
            header, pixels = await self._look(Task(image, spec, limits, self._room))
            if pixels is None:
                self._check(header)
                header, pixels = await self._look(Task(image, spec, limits, header.decode_bytes))
        if pixels is None:
            raise UndecodableImage("the image says two sizes: it is broken.")
        return pixels, header.pixels

    async def _look(self, task: Task) -> Look:
        context = current()
        # Of an image that several requests share, the first is the owner.
        owner = next(iter(context.requests), None) if context else None
        caller = context.caller if context else ""
        answer: asyncio.Future[Look] = asyncio.get_running_loop().create_future()
        with ExitStack() as held:  # always in this order: who waits for a place has its bytes
            await held.enter_context(self._bytes.lease(caller)).wait(task.room, owner)
            await held.enter_context(self._places.lease(caller)).wait(1, owner)
            give_back = held.pop_all().close
        self._start(task, partial(_deliver, answer, give_back))
        try:
            return await answer
        finally:
            del answer  # an error's traceback holds this frame, and it holds the error

    def _check(self, header: ImageHeader) -> None:
        size, limit = header.decode_bytes, self._bytes.limit
        if size > limit:
            raise ImageTooLarge(
                f"the image has {header.pixels:,} pixels, and decoding it takes {size:,} bytes of memory in its "
                f"format; the limit is {limit:,}. Send a smaller image, or a JPEG that is not progressive.",
                limit=limit,
                actual=size,
            )


def _deliver(answer: asyncio.Future[Look], give_back: Callable[[], None], result: Result) -> None:
    give_back()
    if answer.done():  # its request has left
        return
    if isinstance(result, BaseException):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def closed() -> BackendUnavailable:
    """The error of an image that is not decoded any more."""
    return BackendUnavailable("the service is shutting down.")


def took_too_long(seconds: float) -> ImageTooLarge:
    """The error of an image whose decoding exceeded the timeout."""
    return ImageTooLarge(
        f"decoding the image takes longer than the limit of {seconds:g} s. Send a smaller image.",
        limit=seconds,
    )

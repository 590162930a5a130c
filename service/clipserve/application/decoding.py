"""Decodes images within the limits of this process: a number at a time, and memory for all of them together.

An image holds its bytes and its place until its decoding has really ended. A cancelled request does not wait for
that, but decoding goes on: decoders cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from clipserve.application.decode_queue import DecodeQueue, QueuedDecode
from clipserve.clip.images import ImageHeader, ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.engine.backend import Pixels
from clipserve.errors import BackendUnavailable, ImageTooLarge
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import current

# For one image: CPU time in a process, elapsed time in a thread.
DECODE_SECONDS = 5.0


class Task(NamedTuple):
    """What to do with an image. `header`: what was announced or read of it; None: read only its header."""

    image: bytes
    spec: ImageSpec
    limits: ImageLimits
    header: ImageHeader | None


Result = Pixels | ImageHeader | BaseException  # an error of `decode_pixels` or of `read_header`


class DecodePlace(Protocol):
    """Where images are decoded. The event loop calls it."""

    def start(self, task: Task, ended: Callable[[Result], None]) -> None:
        """Begin, and return at once. `ended` is called in a later turn of the loop, and never twice."""


class DecodeThreads:
    """Decodes in the threads of `executor`."""

    def __init__(
        self,
        executor: Executor,
        decode: Callable[[bytes, ImageSpec, ImageLimits, ImageHeader], Pixels] = decode_pixels,
    ) -> None:
        self._executor = executor
        self._decode = decode

    def start(self, task: Task, ended: Callable[[Result], None]) -> None:
        def report(job: asyncio.Future[Pixels | ImageHeader]) -> None:
            ended(closed() if job.cancelled() else job.exception() or job.result())

        loop = asyncio.get_running_loop()
        try:
            loop.run_in_executor(self._executor, self._done, task).add_done_callback(report)
        except RuntimeError:  # the executor was shut down
            loop.call_soon(ended, closed())

    def _done(self, task: Task) -> Pixels | ImageHeader:
        if task.header is None:
            return read_header(task.image, task.spec, task.limits)
        return self._decode(task.image, task.spec, task.limits, task.header)


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of all images together.

    Attributes:
        places: images at a time.
        memory_bytes: for these images together.
        seconds: the timeout of an image, after which its decoding goes on; None: the place has its own timeout.
    """

    places: int
    memory_bytes: int
    seconds: float | None = None


class _Work(NamedTuple):
    """`result`: what its request waits for."""

    task: Task
    result: asyncio.Future[Any]


class Decoders:
    """Decodes the images of all models, which together may take `memory_bytes`."""

    def __init__(self, place: DecodePlace, limits: DecodeLimits, metrics: Metrics) -> None:
        self._place = place
        self._limits = limits
        self._metrics = metrics
        self.memory_bytes = limits.memory_bytes
        self._queue = DecodeQueue[_Work]()
        self._running = 0
        self._bytes = 0
        metrics.decode_bytes.set_function(lambda: self._bytes)
        metrics.decode_waiting.set_function(lambda: len(self._queue))

    async def decode(self, image: bytes, header: ImageHeader, spec: ImageSpec, limits: ImageLimits) -> Pixels:
        """Wait for this image's turn, and decode it: uint8 [S, S, 3]. `header`: what was announced or read of it.

        Raises:
            ImageTooLarge: it takes more memory than all images may, or too long.
            UnsupportedFormat, ImageTooLarge, UndecodableImage: see `decode_pixels`.
        """
        size, limit = header.decode_bytes, self.memory_bytes
        if size > limit:
            raise ImageTooLarge(
                f"the image has {header.pixels:,} pixels, and decoding it takes {size:,} bytes of memory in its "
                f"format; the limit is {limit:,}. Send a smaller image, or a JPEG that is not progressive.",
                limit=limit,
                actual=size,
            )
        pixels: Pixels = await self._in_turn(size, Task(image, spec, limits, header))
        return pixels

    async def read_header(self, image: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageHeader:
        """Wait for this image's turn, and read its header, which takes about as much memory as its bytes.

        Raises:
            ImageTooLarge: it takes too long.
            UnsupportedFormat, ImageTooLarge, UndecodableImage: see `clipserve.clip.images.read_header`.
        """
        size = min(len(image), self.memory_bytes)
        header: ImageHeader = await self._in_turn(size, Task(image, spec, limits, None))
        return header

    async def _in_turn(self, size: int, task: Task) -> Any:
        context = current()
        # Of an image that several requests share, the first is the owner.
        owner = next(iter(context.requests), None) if context else None
        work = _Work(task, asyncio.get_running_loop().create_future())
        waiting = QueuedDecode(owner, size, work, context.caller if context else "")
        with self._metrics.stage("decode"):
            self._queue.put(waiting)
            self._deal()
            try:
                return await work.result
            finally:
                if not waiting.dealt:  # cancelled before its turn
                    self._queue.removed(waiting)
                    self._deal()  # the next ones may fit
                del work, waiting  # an error's traceback holds this frame, and they hold the error

    def _deal(self) -> None:
        """Give each free place the image whose turn it is."""
        while self._running < self._limits.places:
            waiting = self._queue.dealt(self.memory_bytes - self._bytes)
            if waiting is None:
                break
            if waiting.item.result.done():  # cancelled in this turn of the loop
                self._queue.ended(waiting)
                continue
            self._running += 1
            self._bytes += waiting.size
            self._place.start(waiting.item.task, functools.partial(self._ended, waiting))
            if self._limits.seconds:
                asyncio.get_running_loop().call_later(
                    self._limits.seconds, _give_up, waiting.item.result, self._limits.seconds
                )

    def _ended(self, waiting: QueuedDecode[_Work], result: Result) -> None:
        self._queue.ended(waiting)
        self._running -= 1
        self._bytes -= waiting.size
        future = waiting.item.result
        if not future.done():  # else its request has left
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._deal()


def _give_up(result: asyncio.Future[Any], seconds: float) -> None:
    if not result.done():
        result.set_exception(took_too_long(seconds))


def closed() -> BackendUnavailable:
    """The error of an image that is not decoded any more."""
    return BackendUnavailable("the service is shutting down.")


def took_too_long(seconds: float) -> ImageTooLarge:
    """The error of an image whose decoding exceeded the timeout."""
    return ImageTooLarge(
        f"decoding the image takes longer than the limit of {seconds:g} s. Send a smaller image.",
        limit=seconds,
    )

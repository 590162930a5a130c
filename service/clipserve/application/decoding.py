"""Decodes images within the limits of this process: a number at a time, and memory for all of them together.

An image holds its bytes and its thread until its decoding has really ended. A cancelled request does not wait for
that, but decoding goes on: decoders cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from clipserve.application.decode_queue import DecodeQueue, QueuedDecode
from clipserve.clip.images import ImageHeader, ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.concurrency import clears_frame
from clipserve.engine.backend import Pixels
from clipserve.errors import ImageTooLarge
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import current

T = TypeVar("T")

Dealt = asyncio.Future[None]  # done when it is an image's turn
# In a thread, with the errors of `decode_pixels` and of `read_header`.
Decode = Callable[[bytes, ImageSpec, ImageLimits, ImageHeader], Pixels]
ReadHeader = Callable[[bytes, ImageSpec, ImageLimits], ImageHeader]

# For one image: CPU time in a process, elapsed time in a thread.
DECODE_SECONDS = 5.0


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of all images together.

    Attributes:
        threads: images at a time.
        memory_bytes: for these images together.
        seconds: the timeout of an image, after which its thread goes on; None: `decode` has its own timeout.
    """

    threads: int
    memory_bytes: int
    seconds: float | None = None


class Decoders:
    """Decodes the images of all models, which together may take `memory_bytes`.

    `decode` and `read_header` run in `executor`, which has `limits.threads` threads.
    """

    def __init__(
        self,
        executor: Executor,
        limits: DecodeLimits,
        metrics: Metrics,
        decode: Decode = decode_pixels,
        read_header: ReadHeader = read_header,
    ) -> None:
        self._executor = executor
        self._decode = decode
        self._read_header = read_header
        self._limits = limits
        self._metrics = metrics
        self.memory_bytes = limits.memory_bytes
        self._queue = DecodeQueue[Dealt]()
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
        return await self._in_turn(size, functools.partial(self._decode, image, spec, limits, header))

    async def read_header(self, image: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageHeader:
        """Wait for this image's turn, and read its header, which takes about as much memory as its bytes.

        Raises:
            ImageTooLarge: it takes too long.
            UnsupportedFormat, ImageTooLarge, UndecodableImage: see `clipserve.clip.images.read_header`.
        """
        size = min(len(image), self.memory_bytes)
        return await self._in_turn(size, functools.partial(self._read_header, image, spec, limits))

    @clears_frame
    async def _in_turn(self, size: int, work: Callable[[], T]) -> T:
        loop, context = asyncio.get_running_loop(), current()
        # Of an image that several requests share, the first is the owner.
        owner = next(iter(context.requests), None) if context else None
        waiting = QueuedDecode(owner, size, loop.create_future(), context.caller if context else "")
        with self._metrics.stage("decode"):
            self._queue.put(waiting)
            self._deal()
            try:
                await waiting.item
            except asyncio.CancelledError:
                self._give_back(waiting)
                raise
            job = loop.run_in_executor(self._executor, work)
            job.add_done_callback(functools.partial(self._ended, waiting))
            try:
                async with asyncio.timeout(self._limits.seconds):
                    return await asyncio.shield(job)
            except TimeoutError:
                raise took_too_long(self._limits.seconds or 0.0) from None

    def _deal(self) -> None:
        """Give each free thread the image whose turn it is."""
        while self._running < self._limits.threads:
            waiting = self._queue.dealt(self.memory_bytes - self._bytes)
            if waiting is None:
                break
            self._running += 1
            self._bytes += waiting.size
            if not waiting.item.done():  # else it was cancelled, and gives its place back when it learns it
                waiting.item.set_result(None)

    def _give_back(self, waiting: QueuedDecode[Dealt]) -> None:
        """It was cancelled before its decoding began."""
        if waiting.dealt:
            self._ended(waiting)
        else:
            self._queue.removed(waiting)
            self._deal()  # the next ones may fit

    def _ended(self, waiting: QueuedDecode[Dealt], job: asyncio.Future[T] | None = None) -> None:
        if job and not job.cancelled():
            job.exception()  # retrieve it: nobody else may, and asyncio would log that
        self._queue.ended(waiting)
        self._running -= 1
        self._bytes -= waiting.size
        self._deal()


def took_too_long(seconds: float) -> ImageTooLarge:
    """The error of an image whose decoding exceeded the timeout."""
    return ImageTooLarge(
        f"decoding the image takes longer than the limit of {seconds:g} s. Send a smaller image.",
        limit=seconds,
    )

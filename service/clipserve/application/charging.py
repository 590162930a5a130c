"""Admits, charges and encodes the rows of a request: images and texts. A refused request is not charged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import starmap
from typing import Any, TypeVar

from clipserve.access.gate import when_there_is_room
from clipserve.api.fields import ImageSource
from clipserve.api.limits import RequestLimits
from clipserve.application.encoder import PixelSum, VectorOrError
from clipserve.application.fetched import FetchedImages, are_here
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import both, together
from clipserve.errors import ClipError
from clipserve.telemetry.request import describe, is_bulk

T = TypeVar("T")

Charge = Callable[[int], Awaitable[None]]


class RequestEncoder:
    """The steps from the images and texts of a request to their vectors, which all use cases share."""

    def __init__(self, limits: RequestLimits, charge: Charge | None, fetched: FetchedImages) -> None:
        """`charge`: takes rows from the rate of the caller's key; raises RateLimited."""
        self._limits = limits
        self._charge = charge
        self._fetched = fetched

    async def encode(
        self,
        model: ServedModel,
        images: Sequence[ImageSource],
        texts: int,
        encode_texts: Callable[[], Coroutine[Any, Any, T]],
    ) -> tuple[list[VectorOrError], T]:
        """The vector of each image or its error, and the result of `encode_texts`, which encodes `texts` texts.

        Rows of a bulk request are never refused, and admission does not count them: they give way to all others.

        Raises:
            InvalidInput: a text has too many tokens, or the images together have too many pixels.
            Unauthenticated, RateLimited, Overloaded, BackendUnavailable, BackendFailed: see `clipserve.errors`.
        """
        if not are_here(images):
            return await self._encode_by_url(model, images, texts, encode_texts)
        counted = (0, 0) if is_bulk() else (len(images), texts)
        with model.admission.admit(*counted) as in_flight:
            await self._take(len(images) + texts)
            if not images:
                return [], await encode_texts()
            encoding = model.images.encode_all(images, self._pixels(images))
            if texts:
                vectors, encoded = await both(encoding, encode_texts())
            else:  # `encode_texts` has nothing to encode, and a task for it is expensive
                vectors, encoded = await encoding, await encode_texts()
            in_flight.failed(sum(isinstance(vector, ClipError) for vector in vectors))
            return vectors, encoded

    async def _encode_by_url(
        self,
        model: ServedModel,
        images: Sequence[ImageSource],
        texts: int,
        encode_texts: Callable[[], Coroutine[Any, Any, T]],
    ) -> tuple[list[VectorOrError], T]:
        """As `encode`, for a request with URLs: it is admitted and charged before anything is fetched.

        Each image is fetched and encoded by itself, so a request never holds the bytes of all. It counts as work
        once it is here: a slow host would look like slow encoders.
        """
        pixels, bulk = self._pixels(images), is_bulk()

        async def encoded(index: int, image: ImageSource) -> VectorOrError:
            async with self._fetched.held(image, index) as here:
                if isinstance(here, ClipError):
                    return here
                with model.admission.admit(images=0 if bulk else 1, refuse=False) as in_flight:
                    (vector,) = await model.images.encode_all([here], pixels)
                    in_flight.failed(isinstance(vector, ClipError))
            return vector.at(index) if isinstance(vector, ClipError) else vector

        async def encoded_texts() -> T:
            with model.admission.admit(texts=0 if bulk else texts, refuse=False):
                return await encode_texts()

        with self._fetched.queued(() if bulk else images):
            if not bulk:
                model.admission.admit(len(images), texts)  # raises; nothing is here to be counted
            await self._take(len(images) + texts)
            return await both(together(starmap(encoded, enumerate(images))), encoded_texts())

    async def _take(self, rows: int) -> None:
        """Take rows from the rate. Raises Unauthenticated, and RateLimited unless the request is bulk: it waits."""
        describe(rows=rows)
        if self._charge and is_bulk():
            await when_there_is_room(partial(self._charge, rows))
        elif self._charge:
            await self._charge(rows)

    def _pixels(self, images: Sequence[ImageSource]) -> PixelSum:
        return PixelSum(len(images), self._limits.max_request_pixels)

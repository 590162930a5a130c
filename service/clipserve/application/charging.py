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
from clipserve.engine.backend import Vector
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

        Raises:
            InvalidInput: a text has too many tokens, or the images together have too many pixels.
            Unauthenticated, RateLimited, Overloaded, BackendUnavailable, BackendFailed: see `clipserve.errors`.
        """
        if not are_here(images):
            return await self._encode_by_url(model, images, texts, encode_texts)
        bulk = is_bulk()
        with model.admission.admit(len(images), texts, refuse=not bulk) as in_flight:
            await self.charge(len(images) + texts, wait=bulk)
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
        pixels = self._pixels(images)

        async def encoded(index: int, image: ImageSource) -> VectorOrError:
            async with self._fetched.held(image, index) as here:
                if isinstance(here, ClipError):
                    return here
                with model.admission.admit(images=1, refuse=False) as in_flight:
                    (vector,) = await model.images.encode_all([here], pixels)
                    in_flight.failed(isinstance(vector, ClipError))
            return vector.at(index) if isinstance(vector, ClipError) else vector

        async def encoded_texts() -> T:
            with model.admission.admit(texts=texts, refuse=False):
                return await encode_texts()

        with self._fetched.queued(images):
            if not (bulk := is_bulk()):
                model.admission.check(len(images), texts)
            await self.charge(len(images) + texts, wait=bulk)
            return await both(together(starmap(encoded, enumerate(images))), encoded_texts())

    async def encode_item(self, model: ServedModel, image: ImageSource) -> Vector:
        """The vector of an image of a bulk request, without admission and without a charge.

        Raises:
            ClipError: the error of the image.
            BackendUnavailable, BackendFailed: see `Backend`.
        """
        async with self._fetched.held(image, 0) as here:
            (vector,) = await model.images.encode_all([here], self._pixels([here]))
        if isinstance(vector, ClipError):
            raise vector
        return vector

    async def charge(self, rows: int, *, wait: bool = False) -> None:
        """Take rows from the rate. Raises Unauthenticated, and RateLimited unless `wait`."""
        describe(rows=rows)
        if self._charge and wait:
            await when_there_is_room(partial(self._charge, rows))
        elif self._charge:
            await self._charge(rows)

    def _pixels(self, images: Sequence[ImageSource]) -> PixelSum:
        return PixelSum(len(images), self._limits.max_request_pixels)

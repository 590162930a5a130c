"""Admits, charges and encodes the rows of a request: images and texts. A refused request is not charged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import starmap
from typing import Any, TypeVar

from clipserve.access.gate import when_there_is_room
from clipserve.api.fields import ImageInput, ImageSource
from clipserve.api.limits import RequestLimits
from clipserve.application.admission import InFlight
from clipserve.application.encoder import VectorOrError, encode_images
from clipserve.application.fetched import FetchedImages, are_here
from clipserve.application.requests import check_pixels
from clipserve.application.served_model import ServedModel
from clipserve.clip.images import ImageHeader
from clipserve.concurrency import both, together
from clipserve.engine.backend import Vector
from clipserve.errors import ClipError
from clipserve.telemetry.request import describe, is_bulk

T = TypeVar("T")

Charge = Callable[[int], Awaitable[None]]

# Decoding an image of the first size takes about as long as encoding it does; a large one is several times that.
_ROW_BYTES, _LARGE_BYTES = 20_000_000, 80_000_000


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
            headers = await self._read_headers(model, images, in_flight) if images else []
            await self.charge(len(images) + texts, wait=bulk)
            if not images:
                return [], await encode_texts()
            encoding = encode_images(model.images.encode, images, headers)
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
        headers: list[ImageHeader | ClipError] = []

        async def encoded(index: int, image: ImageSource) -> VectorOrError:
            async with self._fetched.held(image, index) as here:
                if isinstance(here, ClipError):
                    return here
                with model.admission.admit(images=1, refuse=False) as in_flight:
                    header = await self._read_headers(model, [here], in_flight, headers)
                    (vector,) = await encode_images(model.images.encode, [here], header)
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
            (vector,) = await encode_images(
                model.images.encode, [here], await model.images.read_headers([here])
            )
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

    async def _read_headers(
        self,
        model: ServedModel,
        images: Sequence[ImageInput],
        in_flight: InFlight,
        fetched: list[ImageHeader | ClipError] | None = None,
    ) -> list[ImageHeader | ClipError]:
        """What the images are, before anything is decoded.

        `fetched`: if they come one by one, those of their request so far, which was admitted; they are added.

        Raises:
            TooMany: they have too many pixels together.
            Overloaded: they are large, and too many such images are ahead.
        """
        headers = await model.images.read_headers(images)
        if fetched is not None:
            fetched += headers
        check_pixels(headers if fetched is None else fetched, self._limits)
        sizes = [0 if isinstance(header, ClipError) else header.decode_bytes for header in headers]
        if max(sizes) > _LARGE_BYTES:
            in_flight.are_large(
                sum(1 + size // _ROW_BYTES for size in sizes), refuse=fetched is None and not is_bulk()
            )
        return headers

"""Replaces the URLs among the images of a request by the images' bytes, which have a separate budget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeGuard

from clipserve.application.byte_budget import ByteBudget, Lease
from clipserve.application.encoder import ImageInput, ImageSource, ImageUrl
from clipserve.concurrency import together
from clipserve.errors import ClipError, ImageNotFetched, UndecodableImage
from clipserve.fetching.fetcher import Fetcher

MAX_BYTES = 128_000_000  # of fetched images in memory


class FetchedImages:
    """Fetches images. Without a fetcher each URL is an error."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher
        self._budget = ByteBudget(MAX_BYTES, MAX_BYTES)

    def held(self, images: Sequence[ImageSource]) -> AbstractAsyncContextManager[Sequence[ImageInput]]:
        """The images, with each URL replaced by its bytes or its error. The bytes stay in memory during the block.

        Entering it raises Overloaded: fetched images hold too many bytes already.
        """
        return nullcontext(images) if _are_here(images) else self._fetch(images)

    @asynccontextmanager
    async def _fetch(self, images: Sequence[ImageSource]) -> AsyncIterator[Sequence[ImageInput]]:
        with self._budget.lease("") as lease:
            yield await together(self._one(index, image, lease) for index, image in enumerate(images))

    async def _one(self, index: int, image: ImageSource, lease: Lease) -> ImageInput:
        if not isinstance(image, ImageUrl):
            return image
        if self._fetcher is None:
            return not_fetched(f"image {index}", index)
        try:
            return await self._fetcher.fetch(image.url, lease.grow)
        except ImageNotFetched as error:
            return error.with_traceback(None).at(index)


def _are_here(images: Sequence[ImageSource]) -> TypeGuard[Sequence[ImageInput]]:
    return not any(isinstance(image, ImageUrl) for image in images)


def not_fetched(name: str, index: int | None) -> ClipError:
    """The error of a URL if none is fetched."""
    return UndecodableImage(
        f"{name} is a URL, and URLs are not fetched: send the image itself, as base64 or as a data URI "
        "(data:image/jpeg;base64,...).",
        index=index,
    )

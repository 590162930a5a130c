"""The images of a request that are URLs: each is fetched when it is its turn, and held until it is encoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeGuard

from clipserve.api.fields import ImageInput, ImageSource, ImageUrl
from clipserve.errors import ClipError, ImageNotFetched
from clipserve.quota import Lease, Quota
from clipserve.telemetry.request import caller, current

if TYPE_CHECKING:  # it loads the fetcher
    from clipserve.fetching.fetcher import Fetcher

# Images by URL in requests that were admitted and are not answered, without those of bulk requests. One caller has
# half, and at least as many as one request may have.
QUEUED = 1_024


class FetchedImages:
    """Fetches images. Without a fetcher each URL is an error."""

    def __init__(self, fetcher: Fetcher | None = None, max_images: int = 0) -> None:
        """`max_images`: of a request."""
        self._fetcher = fetcher
        most = max(QUEUED // 2, max_images)
        self._queue = Quota("images by URL", 2 * most, most)

    def queued(self, images: Sequence[ImageSource]) -> Lease:
        """The URLs among the images of a request count in this block.

        Raises:
            Overloaded: there are too many already, of this caller or of all.
        """
        return self._queue.lease(_caller(), sum(isinstance(image, ImageUrl) for image in images))

    @asynccontextmanager
    async def held(self, image: ImageSource, index: int) -> AsyncIterator[ImageInput]:
        """The image, or if it is a URL its bytes or its error. The bytes stay in memory during the block."""
        async with AsyncExitStack() as stack:
            if not isinstance(image, ImageUrl):
                here: ImageInput = image
            elif self._fetcher is None:
                here = not_fetched(f"image {index}", index)
            else:
                try:
                    here = await stack.enter_async_context(self._fetcher.fetched(image.url, _caller()))
                except ImageNotFetched as error:
                    here = error.with_traceback(None).at(index)
            yield here


def are_here(images: Sequence[ImageSource]) -> TypeGuard[Sequence[ImageInput]]:
    """Whether none of them is a URL."""
    return not any(isinstance(image, ImageUrl) for image in images)


def not_fetched(name: str, index: int | None) -> ClipError:
    """The error of a URL if none is fetched."""
    return ImageNotFetched(
        f"{name} is a URL, and URLs are not fetched: send the image itself, as base64 or as a data URI "
        "(data:image/jpeg;base64,...).",
        index=index,
    )


def _caller() -> str:
    """Whose shares the images of this request take. Those of bulk requests wait, and have their own."""
    request = current()
    return f"{caller()}, bulk" if request and request.bulk else caller()

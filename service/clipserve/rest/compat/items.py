"""Lists of mixed texts and images, for several APIs: JSON -> a request, and its answer in the list's order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from clipserve.api.answers import Embeddings, ImageVector, TextVector
from clipserve.api.fields import ImageSource
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest, SimilarityRequest
from clipserve.application.shared import rendered
from clipserve.errors import (
    ClipError,
    ImageTooLarge,
    InvalidInput,
    TooMany,
    UndecodableImage,
    UnsupportedFormat,
    check_limit,
)
from clipserve.rest.compat.shared import Options, chosen
from clipserve.rest.json_body import MAX_IMAGES, image_of
from clipserve.rest.reading import service_of

R = TypeVar("R", EmbedRequest, SimilarityRequest)
T = TypeVar("T", bound=Options)

_CONTENTS = ("text", "image", "image_url", "image_base64")  # of an item; the last is Voyage's name

# A text that begins like this is a URL.
_DATA_URI = re.compile(r"data:(?:image/|[\w.+/-]*;base64,)")
_IMAGE_URL = re.compile(r"https?://\S+\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|heic)(?:\?\S*)?", re.IGNORECASE)
_OF_IMAGES = (UndecodableImage, UnsupportedFormat, ImageTooLarge)


@dataclass(frozen=True)
class Item:
    """A text; or an image, as base64, a data URI or a URL. `name`: its place in the request, for errors."""

    content: str
    name: str
    is_image: bool = False


@dataclass(frozen=True)
class Asked(Generic[R, T]):
    """The request for items, which are in the order of the caller's."""

    items: Sequence[Item]
    request: R
    options: T

    def checked(self, limits: RequestLimits) -> Self:
        """Raises ClipError: see the request's `check`. The message names the item."""
        with self.names():
            self.request.check(limits)
        return self

    @contextmanager
    def names(self) -> Iterator[None]:
        """Name the item of an error, for example of the third image."""
        try:
            yield
        except ClipError as error:
            error.__traceback__ = None  # `clipserve.concurrency` says why
            raise self._named(error) from None

    def _named(self, error: ClipError) -> ClipError:
        if error.index is None:
            return error
        if not isinstance(error, InvalidInput):
            return error.at(None)  # the service failed: no item is to blame
        is_image = isinstance(error, _OF_IMAGES)
        place = [n for n, each in enumerate(self.items) if each.is_image == is_image][error.index]
        return error.at(place, f"{self.items[place].name}: ")

    async def answered(
        self: Asked[EmbedRequest, T],
        request: Request,
        render: Callable[[Embeddings, Asked[EmbedRequest, T]], Response],
        dimensions: int | None = None,
    ) -> Response:
        """The vectors, rendered; an item's error fails the request. `dimensions`: see `Inference.embed`."""
        inference = service_of(request).inference
        with self.names():
            answer = await inference.embed(self.request, all_or_nothing=True, dimensions=dimensions)
        return await rendered(render, answer, self)

    def results(self, answer: Embeddings) -> list[TextVector]:
        """The results in the order of the items; an image has no tokens."""
        vectors = [each for each in answer.results if isinstance(each, ImageVector)]  # no error is among them
        texts = (each for each in vectors if isinstance(each, TextVector))
        images = iter(vectors)  # they come first
        return [
            TextVector(next(images).embedding, 0, truncated=False) if each.is_image else next(texts)
            for each in self.items
        ]


def asked_for(
    request: Request, limits: RequestLimits, items: Sequence[Item], options: T, *, truncate: bool
) -> Asked[EmbedRequest, T]:
    """The request for the vectors of these items.

    Raises:
        InvalidInput, TooMany, TextTooLong: see `EmbedRequest.check`.
    """
    asked = EmbedRequest(*decoded(items), truncate=truncate, **chosen(request, options.model))
    return Asked(items, asked, options).checked(limits)


def decoded(items: Sequence[Item]) -> tuple[list[ImageSource], list[str]]:
    """The images and the texts among the items."""
    images = [each.content for each in items if each.is_image]
    texts = [each.content for each in items if not each.is_image]
    return [image_of(index, image) for index, image in enumerate(images)], texts


def listed(value: object, name: str) -> list[Any]:
    """The value as a list. Raises InvalidInput or TooMany: it is not a list, or has more than 4,096 items."""
    if not isinstance(value, list):
        raise InvalidInput(f"{name} must be a list.")
    check_limit(TooMany, name + " has {:,} items", len(value), MAX_IMAGES)
    return value


def item(value: object, name: str, *, are_images: bool = False) -> Item:
    """One item: a text, a data URI, {"text": ...}, {"image": ...}, a part of a message, or a message with one part.

    `are_images`: a bare text is base64.

    Raises:
        InvalidInput: it is none of these, or a text that is only the URL of an image.
    """
    if isinstance(value, str):
        if not are_images and _IMAGE_URL.fullmatch(value):
            raise InvalidInput(f'{name} is the URL of an image: send the image, or {{"text": URL}}.')
        return Item(value, name, are_images or _DATA_URI.match(value) is not None)
    if isinstance(value, dict):
        if "content" in value:
            return message(value, name)
        given = {key: value[key] for key in _CONTENTS if value.get(key) is not None}
        if len(given) == 1:
            ((kind, content),) = given.items()
            if kind == "image_url" and isinstance(content, dict):
                content = content.get("url")
            if isinstance(content, str):
                return Item(content, name, kind != "text")
    raise InvalidInput(
        f'{name} must be a text, a data URI of an image, {{"text": "..."}}, {{"image": "..."}} with base64 or '
        'a data URI, or {"type": "image_url", "image_url": {"url": "data:..."}}.'
    )


def items_of(value: object, name: str, read: Callable[[object, str], Item] = item) -> list[Item]:
    """The items of a list, the field called `name`. `read`: makes an item of a value and its name.

    Raises:
        InvalidInput, TooMany: see `listed` and `read`.
    """
    return [read(each, f"{name}[{i}]") for i, each in enumerate(listed(value, name))]


def message(value: object, name: str) -> Item:
    """The only item of {"content": [...]}. Raises InvalidInput or TooMany: see `listed` and `only_item`."""
    return replace(only_item(parts_of(value, name), f"{name}.content"), name=name)


def parts_of(value: object, name: str) -> list[tuple[str, object]]:
    """The parts of a message, each with its name."""
    name = f"{name}.content"
    parts = listed(value.get("content") if isinstance(value, dict) else None, name)
    return [(f"{name}[{i}]", part) for i, part in enumerate(parts)]


def only_item(parts: Sequence[tuple[str, object]], name: str) -> Item:
    """Of the parts of a message the one that there is. An empty text is no part.

    Raises:
        InvalidInput: there are several, or none.
    """
    # A part that is a message is none.
    items = [
        item(None if isinstance(part, dict) and "content" in part else part, where) for where, part in parts
    ]
    filled = [each for each in items if each.content] or items[:1]
    if len(filled) != 1:
        raise InvalidInput(
            f"{name} has {len(filled):,} texts and images, and one vector is asked of all: the model embeds each "
            "text and each image alone. Send one in a request, or several as a list to have a vector of each."
        )
    return filled[0]

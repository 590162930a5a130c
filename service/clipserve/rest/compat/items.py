"""Lists of mixed texts and images, for several APIs: JSON -> `EmbedRequest`, and answers in the list's order."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Self, TypeVar

from starlette.requests import Request

from clipserve.api.fields import ImageSource
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest, SimilarityRequest
from clipserve.application.answers import Embedding
from clipserve.application.encoder import EncodedText
from clipserve.application.inference import Inference
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
from clipserve.rest.json_body import MAX_IMAGES, JsonObject, image_of

R = TypeVar("R", EmbedRequest, SimilarityRequest)
T = TypeVar("T", bound=Options)

MAX_ITEMS = MAX_IMAGES
_CONTENTS = ("text", "image", "image_url", "image_base64")  # of an item; the last is Voyage's name
_MAX_PARTS = 8  # of a message, only one of which may be more than an empty text

# A text that begins like this is a URL.
_DATA_URI = re.compile(r"data:(?:image/|[\w.+/-]*;base64,)")
_IMAGE_URL = re.compile(r"https?://\S+\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|heic)(?:\?\S*)?", re.IGNORECASE)
_IMAGE_FILE = re.compile(r"\S{1,250}\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|heic)", re.IGNORECASE)
_SEND = "To embed an image, send a data URI with its bytes in base64."
_OF_IMAGES = (UndecodableImage, UnsupportedFormat, ImageTooLarge)


@dataclass(frozen=True)
class EncodedItem:
    """An image in JSON: base64 or a data URI."""

    text: str


Item = str | EncodedItem
Result = EncodedText  # also of an image, without tokens


@dataclass(frozen=True)
class Placed(Generic[R, T]):
    """A request for the items of a list.

    Attributes:
        are_images: which items are images, in the order of the list.
        name: the name of the list.
        before: the name of an item that precedes those of the list; empty: there is none.
    """

    are_images: Sequence[bool]
    name: str
    asked: R
    options: T
    before: str = ""

    def checked(self, limits: RequestLimits) -> Self:
        """Raises ClipError: see the request's `check`. The message names the item."""
        with self.places():
            self.asked.check(limits)
        return self

    def place(self, index: int) -> str:
        """The name of the item at this position, for errors."""
        if self.before and index == 0:
            return self.before
        return f"{self.name}[{index - bool(self.before)}]"

    @contextmanager
    def places(self) -> Iterator[None]:
        """Translate the position of an error, for example of the third image, to that in the list."""
        try:
            yield
        except ClipError as error:
            error.__traceback__ = None  # `clipserve.concurrency` says why
            raise self._placed(error) from None

    def _placed(self, error: ClipError) -> ClipError:
        if error.index is None:
            return error
        if not isinstance(error, InvalidInput):
            return error.at(None)  # the service failed: no item is to blame
        is_image = isinstance(error, _OF_IMAGES)
        places = [place for place, each in enumerate(self.are_images) if each == is_image]
        placed = error.at(places[error.index])
        place = self.place(places[error.index])
        of_texts = f"text {error.index} "  # numbered among the texts, not as in the caller's list
        detail = error.detail.removeprefix(of_texts)
        placed.detail = f"{place}: {detail}" if detail == error.detail else f"{place} {detail}"
        return placed


@dataclass(frozen=True)
class Mixed(Placed[EmbedRequest, T]):
    """A request of vectors."""

    async def embed(self, inference: Inference, dimensions: int | None = None) -> Embedding:
        """The answer. `dimensions`: see `Inference.embed`.

        Raises:
            ClipError: see `Inference.embed`. An item's error fails the request, and names the item's position.
        """
        with self.places():
            return await inference.embed(self.asked, all_or_nothing=True, dimensions=dimensions)

    def results(self, answer: Embedding) -> list[Result]:
        """The results in the order of the list."""
        vectors = (vector for vector in answer.images if not isinstance(vector, ClipError))
        images, texts = (Result(vector, 0, truncated=False) for vector in vectors), iter(answer.texts)
        return [next(images) if is_image else next(texts) for is_image in self.are_images]

    def warning(self) -> dict[str, str]:
        """A header that warns of the first text that looks like the name of a file; empty: there is none."""
        places = (place for place, is_image in enumerate(self.are_images) if not is_image)
        for place, text in zip(places, self.asked.texts, strict=True):
            if _IMAGE_FILE.fullmatch(text):
                name = self.place(place)
                return {
                    "X-Warning": f"{name} looks like the name of a file, and was embedded as a text. {_SEND}"
                }
        return {}


def mixed(
    body: JsonObject,
    request: Request,
    limits: RequestLimits,
    name: str,
    items: Sequence[Item],
    options: T,
    *,
    truncate: bool,
) -> Mixed[T]:
    """Decode the images of `items`, the field called `name`.

    Raises:
        BodyTooLarge: the JSON has too many bytes besides these images.
        InvalidInput, TooMany, TextTooLong: see `EmbedRequest.check`.
    """
    body.check_images(encoded(items))
    asked = EmbedRequest(*decoded(items), truncate=truncate, **chosen(request, options.model))
    return Mixed(are_images(items), name, asked, options).checked(limits)


def are_images(items: Sequence[Item]) -> list[bool]:
    return [isinstance(each, EncodedItem) for each in items]


def encoded(items: Sequence[Item]) -> list[str]:
    """The images among the items, as they are in JSON."""
    return [each.text for each in items if isinstance(each, EncodedItem)]


def decoded(items: Sequence[Item]) -> tuple[list[ImageSource], list[str]]:
    """The images and the texts among the items."""
    images = [image_of(index, text) for index, text in enumerate(encoded(items))]
    return images, [each for each in items if isinstance(each, str)]


def rows_of(are_images: Sequence[bool]) -> list[int]:
    """Where each item is among the application's: images first, then texts."""
    images, texts = count(), count(sum(are_images))
    return [next(images if is_image else texts) for is_image in are_images]


def listed(value: object, name: str) -> list[Any]:
    """The value as a list. Raises InvalidInput or TooMany: it is not a list, or has more than MAX_ITEMS items."""
    if not isinstance(value, list):
        raise InvalidInput(f"{name} must be a list.")
    check_limit(TooMany, name + " has {:,} items", len(value), MAX_ITEMS)
    return value


def item(value: object, name: str, *, are_images: bool = False) -> Item:
    """One item: a text, a data URI, {"text": ...}, {"image": ...}, a part of a message, or a message with one part.

    Args:
        name: the position of the item, for errors.
        are_images: whether a bare text is base64.

    Raises:
        InvalidInput: it is none of these, or a text that is only the URL of an image.
    """
    if isinstance(value, str):
        if not are_images and _IMAGE_URL.fullmatch(value):
            raise InvalidInput(
                f"{name} is the URL of an image, and URLs are not fetched: send the image itself, as a data URI. "
                'To embed the URL as a text, send {"text": "..."}.'
            )
        return EncodedItem(value) if are_images or _DATA_URI.match(value) else value
    if isinstance(value, dict):
        if "content" in value:
            return message(value, name)
        given = {key: value[key] for key in _CONTENTS if value.get(key) is not None}
        if len(given) == 1:
            (kind, content), *_ = given.items()
            if kind == "image_url" and isinstance(content, dict):
                content = content.get("url")
            if isinstance(content, str):
                return content if kind == "text" else EncodedItem(content)
    raise InvalidInput(
        f'{name} must be a text, a data URI of an image, {{"text": "..."}}, {{"image": "..."}} with base64 or '
        'a data URI, or {"type": "image_url", "image_url": {"url": "data:..."}}.'
    )


def items_of(value: object, name: str, read: Callable[[object, str], Item] = item) -> list[Item]:
    """The items of a list, the field called `name`. `read`: makes an item of a value and its name, for errors.

    Raises:
        InvalidInput, TooMany: see `listed` and `read`.
    """
    return [read(each, f"{name}[{i}]") for i, each in enumerate(listed(value, name))]


def message(value: object, name: str) -> Item:
    """The only item of {"content": [...]}. Raises InvalidInput or TooMany: see `listed` and `only_item`."""
    name = f"{name}.content"
    parts = listed(value.get("content") if isinstance(value, dict) else None, name)
    return only_item([(f"{name}[{k}]", part) for k, part in enumerate(parts)], name)


def only_item(parts: Collection[tuple[str, object]], name: str) -> Item:
    """Of the parts of a message, each with its name, the one that there is. An empty text is no part.

    Raises:
        InvalidInput: there are several, or none.
    """
    if len(parts) > _MAX_PARTS:
        raise _not_one(len(parts), name)
    items = [
        item(part if isinstance(part, dict) and "content" not in part else None, where)
        for where, part in parts
    ]
    filled = [each for each in items if each != ""] or items[:1]
    if len(filled) != 1:
        raise _not_one(len(filled), name)
    return filled[0]


def _not_one(count: int, name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} has {count:,} texts and images, and one vector is asked of all: the model embeds each text and "
        "each image alone. Send one in a request, or several as a list to have a vector of each."
    )

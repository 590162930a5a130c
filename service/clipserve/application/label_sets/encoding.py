"""Encodes the prompts and examples of a label set, a piece at a time, with lower priority than requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.request import of_example
from clipserve.application.served_model import ServedModel
from clipserve.clip.images import ImageHeader
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput

T = TypeVar("T")

# In one piece: a quarter of a second of a slow encoder, after which a build that is not wanted any more can end.
_PROMPTS = 256
_IMAGES = 16


async def check_prompts(model: ServedModel, definition: Definition) -> None:
    """Raises TextTooLong or InvalidInput: a prompt cannot be encoded; the index is that of its label."""
    for piece in _pieces(definition, 0):
        with tell_label(piece):
            texts = [text for _, prompts in piece for text in prompts]
            await model.texts.tokenize(texts, truncate=definition.truncate)


async def check_examples(model: ServedModel, definition: Definition, images: Mapping[str, bytes]) -> None:
    """Decode all examples; the build encodes them later. `images`: by their SHA-256.

    Raises:
        InvalidInput: an example is not an image, or exceeds a limit; the index is that of its label.
    """
    await _of_examples(model, definition, images, model.images.check)


async def encode(
    model: ServedModel,
    definition: Definition,
    weights: Weights | None,
    images: Callable[[], Awaitable[Mapping[str, bytes]]],
    paid: Callable[[int], AbstractAsyncContextManager[None]],
) -> AsyncGenerator[Weights, None]:
    """Yield more embeddings after each piece, until there are those of all examples and of all names.

    `weights`: those that there are; None: none. `images`: gives the examples by their SHA-256. `paid`: charges so
    many rows, which are encoded in its block.

    Raises:
        InvalidInput: see `check_prompts` and `check_examples`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    if weights is None:
        async with paid(len(definition.examples)):
            vectors = await _of_examples(model, definition, await images(), model.images.encode)
        weights = Weights.none(np.array(vectors, np.float32).reshape(-1, model.manifest.embed_dim))
        yield weights
    for piece in _pieces(definition, len(weights.texts)):
        async with paid(sum(len(prompts) for _, prompts in piece)):
            embedded = await embed_labels(model.texts, piece, truncate=definition.truncate)
        weights = weights.more(
            np.stack([label.vector for label in embedded]), np.array([label.truncated for label in embedded])
        )
        yield weights


def _pieces(definition: Definition, start: int) -> Iterator[Prompts]:
    """The prompts of the names from `start` on."""
    piece: list[tuple[int, Sequence[str]]] = []
    size = 0
    for name in enumerate(definition.prompts(start), start):
        if piece and size + len(name[1]) > _PROMPTS:
            yield piece
            piece, size = [], 0
        piece.append(name)
        size += len(name[1])
    if piece:
        yield piece


async def _of_examples(
    model: ServedModel,
    definition: Definition,
    images: Mapping[str, bytes],
    work: Callable[[bytes, ImageHeader], Coroutine[Any, Any, T]],
) -> list[T]:
    """What `work` gives of each example, in order, of some at a time."""

    async def one(label: int, example: int, file: bytes, header: ImageHeader | ClipError) -> T:
        if isinstance(header, ClipError):
            raise of_example(header, label, example)
        try:
            return await work(file, header)
        except InvalidInput as error:
            raise of_example(error, label, example) from None

    places = [(k, i) for k, label in enumerate(definition.labels) for i in range(len(label.examples))]
    results: list[T] = []
    for start in range(0, len(places), _IMAGES):
        piece = places[start : start + _IMAGES]
        files = [images[definition.labels[k].examples[i]] for k, i in piece]
        headers = await model.images.read_headers(files)
        results += await together(
            one(*place, file, header) for place, file, header in zip(piece, files, headers, strict=True)
        )
    return results

"""Encodes the prompts and examples of a label set, a piece at a time, with lower priority than requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from clipserve.application.classifiers import of_label
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.request import of_example
from clipserve.application.served_model import ServedModel
from clipserve.clip.images import ImageHeader
from clipserve.clip.zeroshot import ensemble
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput

T = TypeVar("T")

# In one piece: a quarter of a second of a slow encoder, after which a build that is not wanted any more can end.
_PROMPTS = 256
_IMAGES = 16


class _Piece(NamedTuple):
    """All prompts of some names, and of each prompt the position of its name."""

    prompts: list[str]
    names: list[int]


async def check_prompts(model: ServedModel, definition: Definition) -> None:
    """Raises TextTooLong or InvalidInput: a prompt cannot be encoded; the index is that of its label."""
    for piece in _pieces(definition, 0):
        await _of_prompts(piece, model.texts.tokenize(piece.prompts, truncate=definition.truncate))


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
        async with paid(len(piece.prompts)):
            encoded = await _of_prompts(
                piece, model.texts.encode(piece.prompts, truncate=definition.truncate)
            )
        pairs = zip(piece.names, encoded, strict=True)
        own = [[text for _, text in group] for _, group in groupby(pairs, itemgetter(0))]  # by name
        weights = weights.more(
            np.stack([ensemble(np.stack([text.vector for text in each])) for each in own]),
            np.array([any(text.truncated for text in each) for each in own]),
        )
        yield weights


def _pieces(definition: Definition, start: int) -> Iterator[_Piece]:
    """The prompts of the names from `start` on."""
    piece = _Piece([], [])
    for name, prompts in enumerate(definition.prompts(start), start):
        if piece.names and len(piece.names) + len(prompts) > _PROMPTS:
            yield piece
            piece = _Piece([], [])
        piece.prompts.extend(prompts)
        piece.names.extend([name] * len(prompts))
    if piece.names:
        yield piece


async def _of_prompts(piece: _Piece, work: Awaitable[list[T]]) -> list[T]:
    """What the texts' encoder gives; its error is told of the label."""
    try:
        return await work
    except InvalidInput as error:
        raise of_label(error, piece.names[error.index or 0]) from None


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

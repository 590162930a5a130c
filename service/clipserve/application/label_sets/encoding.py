"""The prompts and examples of a label set, as embeddings: a piece at a time, behind all requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from clipserve.application.classifiers import of_label
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.paying import Account
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.request import of_example
from clipserve.application.served_model import ServedModel
from clipserve.clip.images import ImageHeader
from clipserve.clip.zeroshot import FloatArray, ensemble
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput

T = TypeVar("T")

# In one piece: a quarter of a second of a slow encoder, after which a build that is not wanted any more can end.
_PROMPTS = 256
_IMAGES = 16


async def check_prompts(model: ServedModel, definition: Definition) -> None:
    """Raises TextTooLong or InvalidInput: a prompt cannot be encoded; the index is that of its label."""
    for start, labels in _pieces(definition, 0):
        prompts = [prompt for each in labels for prompt in each]
        try:
            await model.texts.tokenize(prompts, truncate=definition.truncate)
        except InvalidInput as error:
            raise of_label(error, start + _owner(labels, error.index or 0)) from None


async def check_examples(model: ServedModel, definition: Definition, images: Mapping[str, bytes]) -> None:
    """Decode all examples; to encode them is left to the build. `images`: by their SHA-256.

    Raises:
        InvalidInput: one is no image, or over a limit of images; the index is that of its label.
    """
    await _of_examples(model, definition, images, model.images.check)


async def encode_examples(
    model: ServedModel, definition: Definition, images: Mapping[str, bytes]
) -> FloatArray:
    """Float32 [E, D], of all examples in the order of their labels. `images`: by their SHA-256.

    Raises:
        InvalidInput: see `check_examples`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    vectors = await _of_examples(model, definition, images, model.images.encode)
    return np.stack(vectors) if vectors else np.zeros((0, model.manifest.embed_dim), np.float32)


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


async def encode_prompts(
    model: ServedModel, definition: Definition, weights: Weights, account: Account
) -> AsyncIterator[Weights]:
    """`weights` with more and more names, until it has all.

    Raises:
        Unpaid, LabelSetFailed: see `Account.require`.
        InvalidInput: see `check_prompts`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    for start, labels in _pieces(definition, len(weights.texts)):
        prompts = [prompt for each in labels for prompt in each]
        await account.require(len(prompts))
        try:
            encoded = await model.texts.encode(prompts, truncate=definition.truncate)
        except InvalidInput as error:
            raise of_label(error, start + _owner(labels, error.index or 0)) from None
        account.spend(len(prompts))
        vectors, truncated, end = [], [], 0
        for each in labels:
            own = encoded[end : (end := end + len(each))]
            vectors.append(ensemble(np.stack([text.vector for text in own])))  # [T, D] -> [D]
            truncated.append(any(text.truncated for text in own))
        weights = weights.more(np.stack(vectors), np.array(truncated))
        yield weights


def _pieces(definition: Definition, start: int) -> Iterator[tuple[int, list[tuple[str, ...]]]]:
    """The prompts of the names from `start` on, of several names at a time; with the position of the first."""
    piece: list[tuple[str, ...]] = []
    prompts = 0
    for each in definition.prompts(start):
        if piece and prompts + len(each) > _PROMPTS:
            yield start, piece
            start += len(piece)
            piece, prompts = [], 0
        piece.append(each)
        prompts += len(each)
    if piece:
        yield start, piece


def _owner(labels: Sequence[tuple[str, ...]], prompt: int) -> int:
    """Whose prompt it is."""
    for position, each in enumerate(labels):
        if prompt < len(each):
            return position
        prompt -= len(each)
    raise IndexError(prompt)

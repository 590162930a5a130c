"""The prompts and examples of a label set, as embeddings: a piece at a time, behind all requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import numpy as np

from service.application.classifiers import of_label
from service.application.encoder import encode_images
from service.application.label_sets.definition import Definition
from service.application.label_sets.records import Weights
from service.application.label_sets.request import of_example
from service.application.served_model import ServedModel
from service.clip.zeroshot import FloatArray, ensemble
from service.errors import ClipError, InvalidInput

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


async def encode_examples(model: ServedModel, definition: Definition, images: dict[str, bytes]) -> FloatArray:
    """Float32 [E, D], of all examples in the order of their labels. `images`: by their SHA-256.

    Raises:
        InvalidInput: an example is no image, or over a limit of images; the index is that of its label.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    places = [
        (label, example, digest)
        for label, each in enumerate(definition.labels)
        for example, digest in enumerate(each.examples)
    ]
    vectors = np.zeros((len(places), model.manifest.embed_dim), np.float32)  # [E, D]
    for start in range(0, len(places), _IMAGES):
        piece = places[start : start + _IMAGES]
        files = [images[digest] for *_, digest in piece]
        headers = await model.images.read_headers(files)
        encoded = await encode_images(model.images, files, headers)
        for position, (vector, (label, example, _)) in enumerate(zip(encoded, piece, strict=True), start):
            if isinstance(vector, ClipError):
                raise of_example(vector, label, example)
            vectors[position] = vector
    return vectors


async def encode_prompts(
    model: ServedModel, definition: Definition, weights: Weights
) -> AsyncIterator[Weights]:
    """`weights` with more and more names, until it has all.

    Raises:
        InvalidInput: see `check_prompts`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    for start, labels in _pieces(definition, len(weights.texts)):
        prompts = [prompt for each in labels for prompt in each]
        try:
            encoded = await model.texts.encode(prompts, truncate=definition.truncate)
        except InvalidInput as error:
            raise of_label(error, start + _owner(labels, error.index or 0)) from None
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

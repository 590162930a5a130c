"""Encodes the prompts and examples of a label set, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.parts import Part, PartEmbeddings, parts_of
from clipserve.application.label_sets.request import of_example
from clipserve.application.served_model import ServedModel
from clipserve.clip.images import ImageHeader
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput

T = TypeVar("T")


async def check(model: ServedModel, definition: Definition, images: Mapping[str, bytes]) -> None:
    """Tokenize all prompts and decode all examples; the build encodes them later. `images`: by their SHA-256.

    Raises:
        TextTooLong, InvalidInput: a prompt cannot be encoded, or an example is not an image or exceeds a limit; the
            index is that of its label.
    """
    for part in parts_of(definition):
        if part.images:
            await _of_examples(model, definition, part, images, model.images.check)
            continue
        prompts = _prompts(definition, part)
        with tell_label(prompts):
            texts = [text for _, of_label in prompts for text in of_label]
            await model.texts.tokenize(texts, truncate=definition.truncate)


async def encode(
    model: ServedModel, definition: Definition, part: Part, images: Mapping[str, bytes]
) -> PartEmbeddings:
    """The embeddings of a part. `images`: its examples by their SHA-256.

    Raises:
        TextTooLong, InvalidInput: see `check`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    if part.images:
        vectors = await _of_examples(model, definition, part, images, model.images.encode)
        return PartEmbeddings(np.array(vectors, np.float32), np.zeros(len(vectors), np.bool_))
    labels = await embed_labels(model.texts, _prompts(definition, part), truncate=definition.truncate)
    return PartEmbeddings(
        np.stack([label.vector for label in labels]), np.array([label.truncated for label in labels])
    )


def _prompts(definition: Definition, part: Part) -> Prompts:
    return [*enumerate(definition.prompts(part.start, part.stop), part.start)]


async def _of_examples(
    model: ServedModel,
    definition: Definition,
    part: Part,
    images: Mapping[str, bytes],
    work: Callable[[bytes, ImageHeader], Coroutine[Any, Any, T]],
) -> list[T]:
    """What `work` gives of each example of the part, in order."""

    async def one(label: int, example: int, file: bytes, header: ImageHeader | ClipError) -> T:
        if isinstance(header, ClipError):
            raise of_example(header, label, example)
        try:
            return await work(file, header)
        except InvalidInput as error:
            raise of_example(error, label, example) from None

    first = len(definition.names)
    places = [(k, i) for k, label in enumerate(definition.labels) for i in range(len(label.examples))]
    places = places[part.start - first : part.stop - first]
    files = [images[definition.labels[k].examples[i]] for k, i in places]
    headers = await model.images.read_headers(files)
    return await together(
        one(*place, file, header) for place, file, header in zip(places, files, headers, strict=True)
    )

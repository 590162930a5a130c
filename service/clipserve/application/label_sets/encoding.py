"""Encodes the prompts and examples of a label set, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Contents, Definition
from clipserve.application.label_sets.parts import Part, PartEmbeddings, parts_of
from clipserve.application.label_sets.request import of_example
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import together
from clipserve.errors import InvalidInput

T = TypeVar("T")


async def check(model: ServedModel, contents: Contents) -> None:
    """Tokenize all prompts and decode all examples; the build encodes them later.

    Raises:
        TextTooLong, InvalidInput: a prompt cannot be encoded, or an example is not an image or exceeds a limit; the
            index is that of its label.
    """
    for part in parts_of(contents.definition):
        if part.images:
            await _of_examples(contents, part, model.images.check)
            continue
        prompts = _prompts(contents.definition, part)
        with tell_label(prompts):
            texts = [text for _, of_label in prompts for text in of_label]
            await model.texts.tokenize(texts, truncate=contents.definition.truncate)


async def encode(model: ServedModel, contents: Contents, part: Part) -> PartEmbeddings:
    """The embeddings of a part.

    Raises:
        TextTooLong, InvalidInput: see `check`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    definition = contents.definition
    if part.images:
        encoded = await _of_examples(contents, part, model.images.encode)
        vectors = [image.vector for image in encoded]
        return PartEmbeddings(np.array(vectors, np.float32), np.zeros(len(vectors), np.bool_))
    labels = await embed_labels(model.texts, _prompts(definition, part), truncate=definition.truncate)
    return PartEmbeddings(
        np.stack([label.vector for label in labels]), np.array([label.truncated for label in labels])
    )


def _prompts(definition: Definition, part: Part) -> Prompts:
    return [*enumerate(definition.prompts(part.start, part.stop), part.start)]


async def _of_examples(
    contents: Contents,
    part: Part,
    work: Callable[[bytes], Coroutine[Any, Any, T]],
) -> list[T]:
    """What `work` gives of each example of the part, in order."""

    async def one(place: tuple[int, int], file: bytes) -> T:
        try:
            return await work(file)
        except InvalidInput as error:
            raise of_example(error, *place) from None

    definition = contents.definition
    places = [(k, i) for k, label in enumerate(definition.labels) for i in range(len(label.examples))]
    of_part = slice(part.start - len(definition.names), part.stop - len(definition.names))
    files = [contents.images[digest] for digest in definition.examples[of_part]]
    return await together(map(one, places[of_part], files))

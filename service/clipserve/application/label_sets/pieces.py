"""The embeddings of a label set are made a piece at a time: of some prompts, or of some examples."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Record
from clipserve.application.label_sets.request import of_example
from clipserve.application.label_sets.served import Rows, row_type
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import together
from clipserve.errors import InvalidInput

T = TypeVar("T")

_PROMPTS = 256  # of a piece: a quarter of a second of a slow encoder, after which an unwanted build can end
_EXAMPLES = 16  # an image takes as long as some prompts


class Piece(NamedTuple):
    """Some labels, each with its position and its prompts, or some examples: label, position, file."""

    labels: Prompts = ()
    examples: list[tuple[int, int, bytes]] = []  # noqa: RUF012 - never changed

    @property
    def prompts(self) -> int:
        return sum(len(prompts) for _, prompts in self.labels)


def pieces_of(record: Record) -> Iterator[Piece]:
    """All of a set, in order; nothing if it has trained weights."""
    definition, labels, count = record.definition, list[Any](), 0
    if definition.weights is not None:
        return
    for label in enumerate(definition.prompts()):
        if labels and count + len(label[1]) > _PROMPTS:
            yield Piece(labels)
            labels, count = [], 0
        labels.append(label)
        count += len(label[1])
    yield Piece(labels)
    places = [
        (k, i, each) for k, label in enumerate(definition.labels) for i, each in enumerate(label.examples)
    ]
    for start in range(0, len(places), _EXAMPLES):
        yield Piece(
            examples=[(k, i, record.images[each]) for k, i, each in places[start : start + _EXAMPLES]]
        )


async def check(model: ServedModel, record: Record) -> None:
    """Tokenize all prompts and decode all examples; the build encodes them later.

    Raises:
        TextTooLong, InvalidInput: a prompt cannot be encoded, or an example is not an image or exceeds a limit; the
            index is that of its label.
    """
    for piece in pieces_of(record):
        await _of_examples(piece, model.images.check)
        with tell_label(piece.labels):
            texts = [text for _, prompts in piece.labels for text in prompts]
            await model.texts.tokenize(texts, truncate=record.definition.truncate)


async def encode(model: ServedModel, piece: Piece, *, truncate: bool) -> Rows:
    """The embeddings of a piece, [n] of `row_type`.

    Raises:
        TextTooLong, InvalidInput: see `check`.
        BackendUnavailable, BackendFailed: see `Backend`.
    """
    rows = np.zeros(len(piece.labels) + len(piece.examples), row_type(model.manifest.embed_dim))
    if piece.examples:
        rows["vector"] = [image.vector for image in await _of_examples(piece, model.images.encode)]
    else:
        labels = await embed_labels(model.texts, piece.labels, truncate=truncate)
        rows["vector"] = [label.vector for label in labels]
        rows["truncated"] = [label.truncated for label in labels]
    return rows


async def _of_examples(piece: Piece, work: Callable[[bytes], Coroutine[Any, Any, T]]) -> list[T]:
    """What `work` gives of each example, in order."""

    async def one(label: int, position: int, file: bytes) -> T:
        try:
            return await work(file)
        except InvalidInput as error:
            raise of_example(error, label, position) from None

    return await together(one(*example) for example in piece.examples) if piece.examples else []

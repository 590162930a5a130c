"""The parts of a build: its embeddings are made and stored a part at a time, in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.application.label_sets.definition import Definition
from clipserve.clip.zeroshot import FloatArray

# The prompts of a part: a quarter of a second of a slow encoder, after which an unwanted build can end. An image
# takes as long as some prompts.
_PROMPTS = 256
_PROMPTS_OF_AN_IMAGE = 16
_CHECKSUM = 32  # bytes


class Part(NamedTuple):
    """Some of the names of a definition, or some of its examples.

    Attributes:
        start, stop: positions among all names; for examples, among all names and all examples behind them.
        prompts, images: how many texts or images are to be encoded; one of the two is 0.
    """

    start: int
    stop: int
    prompts: int
    images: int = 0


def parts_of(definition: Definition) -> list[Part]:
    """All parts of a definition, in order; none if it has trained weights."""
    if definition.weights is not None:
        return []
    counts, examples = definition.prompt_counts(), [_PROMPTS_OF_AN_IMAGE] * len(definition.examples)
    of_names = [Part(start, stop, prompts) for start, stop, prompts in _groups(counts)]
    first = len(counts)
    return of_names + [
        Part(first + start, first + stop, 0, stop - start) for start, stop, _ in _groups(examples)
    ]


def _groups(costs: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Start and stop of neighbours that cost at most `_PROMPTS` together, or of a single one; and their cost."""
    start, together = 0, 0
    for position, cost in enumerate(costs):
        if together and together + cost > _PROMPTS:
            yield start, position, together
            start, together = position, 0
        together += cost
    if together:
        yield start, len(costs), together


@dataclass(frozen=True)
class PartEmbeddings:
    """The embeddings of a part.

    Attributes:
        rows: float32 [n, D], for each name the mean of its prompts, then those of the examples.
        truncated: bool [n], whether one of a name's prompts was cut; False for an example.
    """

    rows: FloatArray
    truncated: npt.NDArray[np.bool_]

    def to_bytes(self) -> bytes:
        """A SHA-256 of all that follows, the rows as little-endian numbers, and a byte for each of `truncated`."""
        content = self.rows.astype("<f4").tobytes() + self.truncated.tobytes()
        return hashlib.sha256(content).digest() + content

    @classmethod
    def from_bytes(cls, stored: bytes, part: Part, dim: int) -> PartEmbeddings | None:
        """Parse the stored embeddings of this part. None: they are missing or damaged."""
        count, content = part.stop - part.start, stored[_CHECKSUM:]
        if len(content) != count * (4 * dim + 1) or hashlib.sha256(content).digest() != stored[:_CHECKSUM]:
            return None
        rows = np.frombuffer(content, "<f4", count * dim).reshape(count, dim)
        return cls(rows, np.frombuffer(content, np.bool_, count, 4 * count * dim))

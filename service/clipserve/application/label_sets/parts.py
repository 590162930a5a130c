"""The parts of a build: its embeddings are made and stored a part at a time, in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipserve.application.label_sets.definition import Definition
from clipserve.clip.zeroshot import FloatArray

# In one part: a quarter of a second of a slow encoder, after which a build that is not wanted any more can end.
_PROMPTS = 256
_IMAGES = 16
_CHECKSUM = 32  # bytes


@dataclass(frozen=True)
class Part:
    """Some of the names of a definition, or some of its examples.

    Attributes:
        start, stop: positions among all names; for examples, among all names and all examples behind them.
        prompts, images: how many texts or images are to be encoded; one of the two is 0.
    """

    start: int
    stop: int
    prompts: int = 0
    images: int = 0

    @property
    def name(self) -> str:
        """What its embeddings are stored under, behind the version."""
        return f"{self.start}-{self.stop}"


def parts_of(definition: Definition) -> list[Part]:
    """All parts of a definition, in order; none if it has trained weights."""
    return [] if definition.weights is not None else [*_texts(definition), *_examples(definition)]


def _texts(definition: Definition) -> Iterator[Part]:
    start, prompts, counts = 0, 0, definition.prompt_counts()
    for position, count in enumerate(counts):
        if prompts and prompts + count > _PROMPTS:
            yield Part(start, position, prompts)
            start, prompts = position, 0
        prompts += count
    yield Part(start, len(counts), prompts)


def _examples(definition: Definition) -> Iterator[Part]:
    first = len(definition.names)
    end = first + len(definition.examples)
    for start in range(first, end, _IMAGES):
        stop = min(start + _IMAGES, end)
        yield Part(start, stop, images=stop - start)


@dataclass(frozen=True)
class PartEmbeddings:
    """The embeddings of a part, or of a whole definition.

    Attributes:
        rows: float32 [n, D], for each name the mean of its prompts, then those of the examples.
        truncated: bool [n], whether one of a name's prompts was cut; False for an example.
    """

    rows: FloatArray
    truncated: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: list[Part], embeddings: Mapping[Part, PartEmbeddings]) -> PartEmbeddings:
        """Those of all parts, in this order."""
        of_parts = [embeddings[part] for part in parts]
        return cls(
            np.concatenate([part.rows for part in of_parts]),
            np.concatenate([part.truncated for part in of_parts]),
        )

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

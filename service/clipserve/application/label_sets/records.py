"""The rows of the store.

    definitions   name/digest           a Definition
    images        name/SHA-256          the file of an example
    weights       name/version          Weights: the embeddings so far, until each name has one
    builds        name/version          Build: the progress, and the gateway that builds
    sets          name                  Pointer: the wanted definition, and the previous one

The name of a definition, an image or the weights of a version determines the content: writing them twice changes
nothing. Only the pointer decides what is served. A row of `builds` is a hint, which may be wrong: then two gateways
compute the same embeddings, or one computes them again.

A version belongs to a definition and to a model's fingerprint. So gateways with different models, or in the middle
of an upgrade, share one store: each builds and serves its own version.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from clipserve.application.label_sets.definition import Definition
from clipserve.clip.zeroshot import FloatArray


class _Row(BaseModel, frozen=True):
    """A row as JSON. Reading ignores unknown fields, which a later version of the service may have added."""

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def found(cls, stored: bytes | None) -> Self | None:
        """Parse a row. None: the row is missing or damaged."""
        try:
            return None if stored is None else cls.model_validate_json(stored)
        except ValueError:
            return None


class Pointer(_Row):
    """The definition of a label set's name.

    Attributes:
        digest: of the wanted definition.
        previous: the digest of the definition that is served until the wanted one is built.
        size: the bytes of the set when it is built.
        put: the time of the put, seconds since 1970.
        payer: the SHA-256 of the key that put it, and pays for the build of the version `pays_for` only.
    """

    digest: str
    previous: str | None
    size: int
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""


class Build(_Row):
    """The progress of a build. Times are seconds since 1970.

    Attributes:
        done: the encoded prompts, of `total`.
        owner: the gateway that builds. Its lease ends at `until`, a fixed time after its last report.
        of_file: whether the set comes from a file, and so has no pointer.
    """

    digest: str
    total: int
    done: int = 0
    owner: str = ""
    until: float = 0.0
    of_file: bool = False

    @property
    def finished(self) -> bool:
        """Whether all embeddings are stored."""
        return self.done >= self.total


@dataclass(frozen=True)
class Weights:
    """The embeddings of a definition; during its build, of its first names only.

    Attributes:
        texts: float32 [n, D], for each name the mean of its prompts.
        truncated: bool [n], whether one of these prompts was cut.
        examples: float32 [E, D], of all examples in the order of their labels.
    """

    texts: FloatArray
    truncated: npt.NDArray[np.bool_]
    examples: FloatArray

    @classmethod
    def none(cls, examples: FloatArray) -> Weights:
        """The embeddings of the examples, without those of any name."""
        return cls(np.zeros((0, examples.shape[1]), np.float32), np.zeros(0, np.bool_), examples)

    def more(self, texts: FloatArray, truncated: npt.NDArray[np.bool_]) -> Weights:
        """These embeddings, and those of the next names."""
        return replace(
            self,
            texts=np.concatenate([self.texts, texts]),
            truncated=np.concatenate([self.truncated, truncated]),
        )

    def fit(self, definition: Definition, dim: int) -> bool:
        """Whether shapes and dtypes fit this definition, or its first names."""
        done = len(self.texts)
        return (
            self.texts.shape == (done, dim)
            and self.truncated.shape == (done,)
            and self.examples.shape == (len(definition.examples), dim)
            and self.texts.dtype == self.examples.dtype == np.float32
            and done <= len(definition.names)
        )

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, texts=self.texts, truncated=self.truncated, examples=self.examples)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Weights | None:
        """Parse stored embeddings. None: they are damaged."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
                return cls(arrays["texts"], arrays["truncated"], arrays["examples"])
        except Exception:  # of a damaged zip: NotImplementedError, RuntimeError, zlib's and struct's errors
            return None

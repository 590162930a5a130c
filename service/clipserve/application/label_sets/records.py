"""What the rows of the store mean.

    definitions   name/digest           a Definition
    images        name/SHA-256          the file of an example
    weights       name/version          Weights: the embeddings so far, which grow until there is one of each name
    builds        name/version          Build: how far they are, and who works on them
    sets          name                  Pointer: which definition is meant, and which was before

A definition, an image and the embeddings of a version are what their names say, whoever writes them: to write
them twice changes nothing. Only the pointer decides what is served. A row of `builds` is a hint, which may be
wrong: then two gateways make the same embeddings, or one makes them again.

A version belongs to a definition and to a model's fingerprint. So gateways with different models, or in the middle
of an upgrade, share one store: each builds and serves the version of its own.
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
    """As JSON. Fields that a later version has added are left out when it is read."""

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def found(cls, stored: bytes | None) -> Self | None:
        """None: there is no such row, or it is damaged."""
        try:
            return None if stored is None else cls.model_validate_json(stored)
        except ValueError:
            return None


class Pointer(_Row):
    """`digest`: of the definition that is wanted. `previous`: that of the one that is served until then.

    `size`: bytes that the set takes, or will. `put`: when it was, seconds since 1970. `payer`: the SHA-256 of the
    key that put it, which pays for the build of `pays_for`, a version, and of no other.
    """

    digest: str
    previous: str | None
    size: int
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""


class Build(_Row):
    """`done` of `total` prompts. `owner` works on it, and is believed to until `until`, seconds since 1970.

    `built`: when it was, seconds since 1970; None: it is not. `of_file`: the set is a file, and has no pointer.
    """

    digest: str
    total: int
    done: int = 0
    owner: str = ""
    until: float = 0.0
    built: float | None = None
    of_file: bool = False


@dataclass(frozen=True)
class Weights:
    """Embeddings of a definition; while it is built, of its first names only.

    Attributes:
        texts: float32 [n, D], of each name's prompts.
        truncated: bool [n], whether one of them was.
        examples: float32 [E, D], of all examples in the order of their labels.
    """

    texts: FloatArray
    truncated: npt.NDArray[np.bool_]
    examples: FloatArray

    @classmethod
    def none(cls, examples: FloatArray) -> Weights:
        """Nothing but the examples."""
        return cls(np.zeros((0, examples.shape[1]), np.float32), np.zeros(0, np.bool_), examples)

    def more(self, texts: FloatArray, truncated: npt.NDArray[np.bool_]) -> Weights:
        """With the next names."""
        return replace(
            self,
            texts=np.concatenate([self.texts, texts]),
            truncated=np.concatenate([self.truncated, truncated]),
        )

    def fit(self, definition: Definition, dim: int) -> bool:
        """Whether they can be those of the first names of this definition, or of all."""
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
        """None: they are damaged."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
                return cls(arrays["texts"], arrays["truncated"], arrays["examples"])
        except Exception:  # of a damaged zip: NotImplementedError, RuntimeError, zlib's and struct's errors
            return None

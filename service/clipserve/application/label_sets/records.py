"""What the rows of the store mean.

    sets          name                  Pointer: which definition is meant, and which was before
    definitions   name/digest           a Definition
    images        name/SHA-256          the file of an example
    builds        name/version          Build: how far a version is, and who works on it
    weights       name/version          Weights: the embeddings so far

A version belongs to a definition and to a model's fingerprint. So gateways with different models, or in the middle
of an upgrade, share one store: each builds and serves the version of its own.
"""

from __future__ import annotations

import functools
import io
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import TypeAdapter

from clipserve.application.label_sets.definition import Definition
from clipserve.clip.zeroshot import FloatArray


class _Json:
    """A dataclass as JSON. Fields that a later version has added are left out when it is read."""

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))  # type: ignore[call-overload]  # each child is a dataclass

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Raises ValueError: it is damaged."""
        row: Self = _adapter(cls).validate_json(stored)  # type: ignore[arg-type]  # a class can be hashed
        return row

    @classmethod
    def found(cls, stored: bytes | None) -> Self | None:
        """None: there is no such row, or it is damaged."""
        try:
            return None if stored is None else cls.from_bytes(stored)
        except ValueError:
            return None


@functools.cache
def _adapter(kind: type[_Json]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@dataclass(frozen=True)
class Pointer(_Json):
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


@dataclass(frozen=True)
class Build(_Json):
    """`done` of `total` prompts. `owner` works on it, and is believed to until `until`, seconds since 1970.

    `built`: when it was, seconds since 1970; None: it is not.
    """

    digest: str
    total: int
    done: int = 0
    owner: str = ""
    until: float = 0.0
    built: float | None = None

    def is_by_another(self, owner: str) -> bool:
        """Whether somebody else works on it now."""
        return self.built is None and self.owner != owner and self.until > time.time()


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
        names = len(definition.names)
        done = len(self.texts)
        examples = definition.vector_count - names
        return (
            self.texts.shape == (done, dim)
            and self.truncated.shape == (done,)
            and self.examples.shape == (examples, dim)
            and self.texts.dtype == self.examples.dtype == np.float32
            and done <= names
        )

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, texts=self.texts, truncated=self.truncated, examples=self.examples)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Weights | None:
        """None: they are damaged. They are made again then."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
                return cls(arrays["texts"], arrays["truncated"], arrays["examples"])
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            return None

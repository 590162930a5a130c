"""The definition of a label set, its digest and version, and the form in which it is stored."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field

from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.clip.prompts import SLOT, fill
from clipserve.errors import InvalidInput

OURS = b'{"format":'  # so begins each record, and no file that people write
_DIGEST, _VERSION = 32, 16  # hexadecimal digits
_OF_WEIGHTS = {"weights", "biases", "expect_fingerprint"}  # no part of another set


class Definition(LabelSetFields):
    """A label set with the model's defaults filled in. Its examples are the SHA-256 of their files."""

    model: str
    labels: list[LabelFields]  # type: ignore[assignment]  # narrower: no bare names

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels, the background at the end."""
        return (*(each.label for each in self.labels), *self.background)

    @property
    def examples(self) -> list[str]:
        """The examples of all labels, in the order of the labels."""
        return [image for label in self.labels for image in label.examples]

    @property
    def prompt_count(self) -> int:
        """The number of texts to encode."""
        return sum(map(len, self._templates()))

    def prompts(self) -> Iterator[tuple[str, ...]]:
        """The prompts of each of `names`."""
        for templates, name in zip(self._templates(), self.names, strict=True):
            yield tuple(fill(template, name) if SLOT in template else template for template in templates)

    def _templates(self) -> list[Sequence[str]]:
        of_labels = [label.prompts or self.templates for label in self.labels]
        return of_labels + [self.templates] * len(self.background)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual in it, in sentences for people."""
        found = []
        with_examples = sum(bool(label.examples) for label in self.labels) if self.example_weight else 0
        if 0 < with_examples < len(self.labels):
            found.append(
                f"{with_examples} of {len(self.labels)} labels have examples. An image is more similar to images "
                "than to texts, so these labels have higher scores: give examples to all, or to none."
            )
        if with_examples and self.background:
            found.append(
                "background labels have no examples, and so have lower scores than labels with examples: use a "
                "threshold in place of them."
            )
        return tuple(found)

    def fits(self, fingerprint: str) -> bool:
        """Whether it can be served with this model: weights are of one fingerprint, prompts and examples of any."""
        return self.weights is None or self.expect_fingerprint == fingerprint

    @property
    def matrix(self) -> npt.NDArray[np.float32]:
        """The trained weights, float32 [K, D]."""
        weights = binascii.a2b_base64(self.weights or "")
        return np.frombuffer(weights, "<f4").reshape(len(self.labels), -1)

    def to_bytes(self) -> bytes:
        """JSON to be hashed; equal definitions give equal bytes."""
        left_out = _OF_WEIGHTS if self.weights is None else None
        return orjson.dumps(self.model_dump(exclude=left_out), option=orjson.OPT_SORT_KEYS)


class Former(BaseModel, frozen=True):
    """A definition that is served until another is built, and its digest."""

    digest: str
    definition: Definition


class Record(BaseModel):
    """A label set as it is stored, in `NAME.json`. Reading ignores fields that a later version may have added.

    Attributes:
        format: comes first: see `OURS`.
        digest: of `definition`.
        former: what is served until `definition` is built.
        images: the examples by their SHA-256.
        size: bytes of the definition, the images and the embeddings.
        put: the time of the put, seconds since 1970.
        payer: the SHA-256 of the key that put it, and pays for the build of the version `pays_for` only.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    format: Literal[1] = 1
    digest: str
    size: int = Field(ge=0, le=2**53)
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""
    definition: Definition
    former: Former | None = None
    images: dict[str, bytes] = {}

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


def no_cosines(what: str) -> InvalidInput:
    """The error of a request for cosines as scores, by which no classifier is trained. `what`: has the weights."""
    return InvalidInput(f"{what} has trained weights, and its score is no cosine: take softmax or sigmoid.")


def digest_of(definition: bytes) -> str:
    """The name of a definition: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(definition).hexdigest()[:_DIGEST]


def version_of(digest: str, fingerprint: str) -> str:
    """The version of a label set: 16 hexadecimal digits of a SHA-256 of the digest and the fingerprint."""
    return hashlib.sha256(f"{digest}\n{fingerprint}".encode()).hexdigest()[:_VERSION]

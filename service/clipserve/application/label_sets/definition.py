"""The definition of a label set: its fields in a request or a file, its stored form, its digest and its version.

docs/label-sets.md says what the fields mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from clipserve.clip.prompts import SLOT, fill
from clipserve.clip.zeroshot import ScoringFunction

_DIGEST, _VERSION = 32, 16  # hexadecimal digits
_OF_WEIGHTS = {"weights", "biases", "expect_fingerprint"}  # no part of another set

# One fault of a list is enough: an error for each item would be a caller's way to make a great many.
Texts = Annotated[list[str], FailFast()]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LabelFields(BaseModel):
    """A label with its options. `examples`: base64 or data URIs; in a file, names of files in its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    id: str | None = None
    prompts: Texts = []
    examples: Texts = []
    threshold: Number | None = None


def _form(label: object) -> str:
    return "name" if isinstance(label, str) else "object"


# What is wrong with an object is told of an object alone, and not that it is no name either.
_Label = Annotated[Annotated[str, Tag("name")] | Annotated[LabelFields, Tag("object")], Discriminator(_form)]


class LabelSetFields(BaseModel):
    """A label set: its labels, and how they are scored.

    `weights`: base64 of float32 [K, D], little-endian, of a linear classifier; see `label_sets.trained`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[list[_Label], FailFast()]
    templates: Texts = []
    background: Texts = []
    model: str | None = None
    expect_fingerprint: str | None = None
    truncate: bool = False
    scoring: ScoringFunction | None = None
    temperature: Number | None = None
    threshold: Number | None = None
    example_weight: Number = 0.5
    weights: str | None = None
    biases: Annotated[list[Number], FailFast()] = []


class Definition(LabelSetFields):
    """A label set with the model's defaults filled in, to be hashed, stored and built.

    Its examples are the SHA-256 of their files.
    """

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

    def prompt_counts(self) -> list[int]:
        """The number of texts to encode for each of `names`."""
        return [len(templates) for templates in self._templates()]

    def prompts(self, start: int, stop: int) -> Iterator[tuple[str, ...]]:
        """The prompts of each of `names` from `start` to `stop`."""
        for templates, name in zip(self._templates()[start:stop], self.names[start:stop], strict=True):
            yield tuple(fill(template, name) if SLOT in template else template for template in templates)

    def _templates(self) -> list[list[str]]:
        of_labels = [label.prompts or self.templates for label in self.labels]
        return of_labels + [self.templates] * len(self.background)

    def fits(self, fingerprint: str) -> bool:
        """Whether it can be served with this model: weights are of one fingerprint, prompts and examples of any."""
        return self.weights is None or self.expect_fingerprint == fingerprint

    def to_bytes(self) -> bytes:
        """JSON; equal definitions give equal bytes."""
        left_out = _OF_WEIGHTS if self.weights is None else None
        return orjson.dumps(self.model_dump(exclude=left_out), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Definition:
        """Parse a stored definition. Raises ValueError: it is damaged, or of a later version of the service."""
        return cls.model_validate_json(stored)


def digest_of(definition: bytes) -> str:
    """The name of a definition: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(definition).hexdigest()[:_DIGEST]


def version_of(digest: str, fingerprint: str) -> str:
    """The version of a label set: 16 hexadecimal digits of a SHA-256 of the digest and the fingerprint."""
    return hashlib.sha256(f"{digest}\n{fingerprint}".encode()).hexdigest()[:_VERSION]

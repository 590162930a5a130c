"""The definition of a label set: its stored form, its digest and its version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import orjson

from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.clip.prompts import SLOT, fill

_DIGEST, _VERSION = 32, 16  # hexadecimal digits
_OF_WEIGHTS = {"weights", "biases", "expect_fingerprint"}  # no part of another set


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

    def _templates(self) -> list[Sequence[str]]:
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

"""A label set as it is defined: what is hashed, stored and built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import orjson

from clipserve.application.label_sets.fields import LabelFields, LabelSetFields
from clipserve.clip.prompts import SLOT, fill

_DIGEST, _VERSION = 32, 16  # hexadecimal digits


class Definition(LabelSetFields):
    """A label set with all that was left to the model filled in; its examples are the SHA-256 of their files."""

    model: str
    labels: list[LabelFields]  # type: ignore[assignment]  # narrower: no bare names

    @property
    def names(self) -> tuple[str, ...]:
        """Of all labels, the background at the end."""
        return (*(each.label for each in self.labels), *self.background)

    @property
    def examples(self) -> list[str]:
        """Of all labels, in their order."""
        return [image for label in self.labels for image in label.examples]

    def rows(self, digest: str) -> set[str]:
        """The names of the rows that it is stored in: its own, and those of its examples."""
        return {digest, *self.examples}

    def prompt_count(self, names: int | None = None) -> int:
        """Texts to encode, of the first `names`, or of all."""
        return sum(map(len, self._templates()[:names]))

    def prompts(self, start: int) -> Iterator[tuple[str, ...]]:
        """The prompts of each of `names`, from position `start` on."""
        for templates, name in zip(self._templates()[start:], self.names[start:], strict=True):
            yield tuple(fill(template, name) if SLOT in template else template for template in templates)

    def _templates(self) -> list[list[str]]:
        own = [each.prompts or self.templates for each in self.labels]
        return own + [self.templates] * len(self.background)

    def to_bytes(self) -> bytes:
        """JSON; equal definitions give equal bytes."""
        return orjson.dumps(self.model_dump(exclude={"expect_fingerprint"}), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Definition:
        """Raises ValueError: it is damaged, or a later version has written it."""
        return cls.model_validate_json(stored)


def digest_of(definition: bytes) -> str:
    """What names a definition: a part of its SHA-256, in hexadecimal."""
    return hashlib.sha256(definition).hexdigest()[:_DIGEST]


def version_of(digest: str, fingerprint: str) -> str:
    """What names the classifier that a model makes of a definition: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(f"{digest}\n{fingerprint}".encode()).hexdigest()[:_VERSION]

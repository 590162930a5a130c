"""A label set as it is defined: what is hashed, stored and built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from clipserve.clip.prompts import SLOT, fill
from clipserve.clip.zeroshot import ScoringFunction

_DIGEST, _VERSION = 32, 16  # hexadecimal digits


@dataclass(frozen=True)
class Label:
    """One label of a set.

    Attributes:
        prompts: in place of the templates: sentences that describe it, with the label in their slots if they
            have any.
        examples: the SHA-256 of each example image's file, in hexadecimal.
        threshold: the set's own, for this label.
    """

    label: str
    id: str | None = None
    prompts: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Definition:
    """All that makes a label set, but its images.

    Attributes:
        model: the name of the model that it is for.
        templates: sentences with slots.
        background: labels that join the softmax and are not returned.
        scoring, temperature, threshold: of requests that say nothing else; None: the model's, 1, and none.
        example_weight: 0..1; see `clipserve.clip.few_shot.with_examples`.
    """

    model: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...]
    background: tuple[str, ...] = ()
    truncate: bool = False
    scoring: ScoringFunction | None = None
    temperature: float | None = None
    threshold: float | None = None
    example_weight: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        """Of all labels, the background at the end."""
        return (*(each.label for each in self.labels), *self.background)

    @property
    def vector_count(self) -> int:
        """Embeddings to keep: of each name, and of each example."""
        return len(self.names) + sum(len(each.examples) for each in self.labels)

    def prompt_count(self, names: int | None = None) -> int:
        """Texts to encode, of the first `names`, or of all."""
        return sum(map(len, self._templates()[:names]))

    def prompts(self, start: int) -> Iterator[tuple[str, ...]]:
        """The prompts of each of `names`, from position `start` on."""
        for templates, name in zip(self._templates()[start:], self.names[start:], strict=True):
            yield tuple(fill(template, name) if SLOT in template else template for template in templates)

    def _templates(self) -> list[tuple[str, ...]]:
        own = [each.prompts or self.templates for each in self.labels]
        return own + [self.templates] * len(self.background)

    def to_bytes(self) -> bytes:
        """JSON; equal definitions give equal bytes."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Definition:
        """Of what `to_bytes` gave."""
        fields: dict[str, Any] = orjson.loads(stored)
        labels = tuple(
            Label(**each | {name: tuple(each[name]) for name in ("prompts", "examples")})
            for each in fields.pop("labels")
        )
        templates, background = (tuple(fields.pop(name)) for name in ("templates", "background"))
        return cls(labels=labels, templates=templates, background=background, **fields)


def digest_of(definition: bytes) -> str:
    """What names a definition: a part of its SHA-256, in hexadecimal."""
    return hashlib.sha256(definition).hexdigest()[:_DIGEST]


def version_of(digest: str, fingerprint: str) -> str:
    """What names the classifier that a model makes of a definition: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(f"{digest}\n{fingerprint}".encode()).hexdigest()[:_VERSION]

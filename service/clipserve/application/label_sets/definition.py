"""The definition of a label set, its digest and version, and the form in which it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.clip.prompts import fill

OURS = b'{"format":'  # so begins each record, and no file that people write
_DIGEST, _VERSION = 32, 16  # hexadecimal digits


class Definition(LabelSetFields):
    """A label set with the model's defaults filled in. Its examples are the SHA-256 of their files."""

    model_config = ConfigDict(extra="ignore")  # a store may have fields of an earlier or a later version

    model: str
    labels: list[LabelFields]  # type: ignore[assignment]  # narrower: no bare names
    templates: list[str] = Field(min_length=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels, the background at the end."""
        return (*(each.label for each in self.labels), *self.background)

    @property
    def rows(self) -> int:
        """The number of its embeddings: one of each name, and one of each example."""
        return len(self.labels) + len(self.background) + sum(len(label.examples) for label in self.labels)

    @property
    def prompt_count(self) -> int:
        """The number of texts to encode."""
        own = sum(len(label.prompts or self.templates) for label in self.labels)
        return own + len(self.templates) * len(self.background)

    def prompts(self) -> Iterator[list[str]]:
        """The prompts of each of `names`."""
        for name, own in zip_longest(self.names, [label.prompts for label in self.labels]):
            yield [fill(each, name) for each in own or self.templates]

    def to_bytes(self) -> bytes:
        """JSON to be hashed; equal definitions give equal bytes."""
        return orjson.dumps(self.model_dump(exclude={"expect_fingerprint"}), option=orjson.OPT_SORT_KEYS)


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


def digest_of(definition: bytes) -> str:
    """The name of a definition: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(definition).hexdigest()[:_DIGEST]


def version_of(digest: str, fingerprint: str) -> str:
    """The version of a label set: 16 hexadecimal digits of a SHA-256 of the digest and the fingerprint."""
    return hashlib.sha256(f"{digest}\n{fingerprint}".encode()).hexdigest()[:_VERSION]

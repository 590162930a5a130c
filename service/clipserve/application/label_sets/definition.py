"""The request to put a label set, its checks, and the definition and the form in which it is stored."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.limits import RequestLimits, at_most
from clipserve.application.requests import expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import fill, one_spelling
from clipserve.errors import ClipError, InvalidInput

OURS = b'{"format":'  # so begins each record, and no file that people write
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
        return len(self.names) + sum(len(label.examples) for label in self.labels)

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

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:32]

    def version(self, fingerprint: str) -> str:
        """16 hexadecimal digits, which change with all that scores depend on, the model's fingerprint too."""
        return hashlib.sha256(f"{self.digest}\n{fingerprint}".encode()).hexdigest()[:16]


class Record(BaseModel):
    """A label set as it is stored, in `NAME.json`. Reading ignores fields of other versions.

    Attributes:
        format: comes first: see `OURS`.
        size: bytes of the definition, the images and the embeddings.
        put: the time of the put, seconds since 1970.
        version: the one that the gateway of the put builds.
        previous: what is served until `definition` is built.
        images: the examples by their SHA-256.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    format: Literal[1] = 1
    size: int = Field(ge=0, le=2**53)
    put: float = 0.0
    version: str = ""
    definition: Definition
    previous: Definition | None = None
    images: dict[str, bytes] = {}

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


@dataclass(frozen=True)
class PutRequest:
    """A label set to store under a name. `examples`: of each label image files, or their errors."""

    name: str
    fields: LabelSetFields
    examples: Sequence[Sequence[ImageInput]]

    def record(self, manifest: ModelManifest, limits: RequestLimits) -> Record:
        """Check the label set, and fill in the model's defaults.

        Raises:
            InvalidInput and its subclasses: the set exceeds a limit, or is invalid.
        """
        check_name(self.name)
        fields, labels, images = self.fields, list[LabelFields](), dict[str, bytes]()
        fields.check(limits)
        at_most("example images", sum(map(len, self.examples)), limits.max_label_set_examples)
        for index, label in enumerate(fields.objects):
            digests = []
            for position, file in enumerate(self.examples[index]):
                if isinstance(file, ClipError):
                    raise of_example(file, index, position)
                digests.append(hashlib.sha256(file).hexdigest())
                images[digests[-1]] = file
            prompts = [*map(one_spelling, label.prompts)]
            labels.append(label.model_copy(update={"prompts": prompts, "examples": digests}))
        by_template = [*(label.label for label in labels if not label.prompts), *fields.background]
        templates = expanded_templates(fields.templates, by_template, manifest, limits)
        resolved = {"labels": labels, "templates": [*templates], "model": manifest.name}
        definition = Definition.model_construct(**dict(fields) | resolved)
        at_most("prompts (labels x templates)", definition.prompt_count, limits.max_label_set_prompts)
        size = len(definition.to_bytes()) + sum(map(len, images.values()))
        at_most("bytes in the label set", size, limits.max_label_set_bytes)
        size += 4 * manifest.embed_dim * definition.rows
        return Record(size=size, definition=definition, images=images)


def written(file: str, text: bytes) -> PutRequest:
    """The request that people wrote into a file, `pets.toml` or `pets.json`: it has the fields of a PUT.

    Raises:
        ValueError, TypeError, RecursionError: it is no label set.
    """
    name, _, kind = file.rpartition(".")
    sent = tomllib.loads(text.decode()) if kind == "toml" else json.loads(text)
    fields = LabelSetFields.model_validate(sent)
    if any(label.examples for label in fields.objects):
        raise ValueError("a file has no images: clipserve label-sets put FILE sends it with them.")
    return PutRequest(name, fields, [()] * len(fields.labels))


def check_name(name: str) -> None:
    """Raises InvalidInput: the name of the label set is malformed."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "the name of a label set has 1 to 64 letters, digits, dots, hyphens and underscores, of ASCII, and "
            "begins with a letter or a digit."
        )


def of_example(error: ClipError, label: int, example: int) -> ClipError:
    """The error of an example image, as an error of its label."""
    return error.at(label, f"example {example} of label {label}: ")

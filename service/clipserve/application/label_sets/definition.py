"""The request to put a label set, its checks, and the definition and the form in which it is stored."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import MAX_ID, LabelFields, LabelSetFields
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    check_scoring,
    each_at_most,
)
from clipserve.application.requests import expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import MAX_SLOTS, SLOT, fill, filled_chars, one_spelling
from clipserve.errors import BadPromptTemplate, ClipError, InvalidInput, TextTooLong, TooMany, check_limit

OURS = b'{"format":'  # so begins each record, and no file that people write
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class LabelSetLimits:
    """`max_label_sets` and `max_label_sets_bytes` limit all sets together, the others one set.

    `max_file_bytes`: of a file in the folder, whoever has written it.
    `put_wait_seconds`: what a put waits for the build before it answers that it has begun.
    `part_for_build`: of what is left to its deadline a request waits for a first build.
    """

    max_label_sets: int = 1_000
    max_label_sets_bytes: int = 256_000_000
    max_label_set_bytes: int = 8_000_000
    max_label_set_prompts: int = 100_000
    max_label_set_examples: int = 1_000
    max_file_bytes: int = 100_000_000
    put_wait_seconds: float = 2.0
    part_for_build: float = 0.75

    def check_all(self, sizes: Collection[int]) -> None:
        """Raises TooMany: all sets, with these sizes in bytes, are too many or too large."""
        check_limit(TooMany, "there would be {:,} label sets, so delete one", len(sizes), self.max_label_sets)
        size, most = sum(sizes), self.max_label_sets_bytes
        check_limit(TooMany, "all would have {:,} bytes, so delete one", size, most)


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
        return len(self.labels) + len(self.background) + self.example_count

    @property
    def example_count(self) -> int:
        """The number of images to encode."""
        return sum(len(label.examples) for label in self.labels)

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

    @property
    def digests(self) -> set[str]:
        """Of the definitions whose embeddings are kept."""
        return {each.digest for each in (self.definition, self.previous) if each}


@dataclass(frozen=True)
class PutRequest:
    """A label set to store under a name. `examples`: of each label image files, or their errors."""

    name: str
    fields: LabelSetFields
    examples: Sequence[Sequence[ImageInput]]

    def record(self, manifest: ModelManifest, limits: RequestLimits, of_sets: LabelSetLimits) -> Record:
        """Check the label set, and fill in the model's defaults.

        Raises:
            InvalidInput and its subclasses: the set exceeds a limit, or is invalid.
        """
        check_name(self.name)
        fields, labels, images = self.fields, list[LabelFields](), dict[str, bytes]()
        given = [
            each if isinstance(each, LabelFields) else LabelFields.model_construct(label=each)
            for each in fields.labels
        ]
        _check(fields, given, limits)
        at_most("example images", sum(map(len, self.examples)), of_sets.max_label_set_examples)
        for index, label in enumerate(given):
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
        at_most("prompts (labels x templates)", definition.prompt_count, of_sets.max_label_set_prompts)
        size = len(definition.to_bytes()) + sum(map(len, images.values()))
        at_most("bytes in the label set", size, of_sets.max_label_set_bytes)
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
    if any(isinstance(label, LabelFields) and label.examples for label in fields.labels):
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


def _check(fields: LabelSetFields, labels: Sequence[LabelFields], limits: RequestLimits) -> None:
    if not labels:
        raise InvalidInput("there is nothing to choose from: give at least one label.")
    check_labels([label.label for label in labels], fields.background, limits)
    check_scoring(fields.temperature, fields.threshold)
    check_range("example_weight", fields.example_weight, 0.0, 1.0)
    for index, label in enumerate(labels):
        try:
            _check_label(label, limits)
        except InvalidInput as error:
            raise error.at(index, f"label {index}: ") from None


def _check_label(label: LabelFields, limits: RequestLimits) -> None:
    at_most("prompts", len(label.prompts), limits.max_templates)
    each_at_most("prompt", label.prompts, limits.max_prompt_chars)
    check_scoring(None, label.threshold)
    if label.id is not None and not (label.id.strip() and label.id.isprintable()):
        raise InvalidInput("its id must have printable characters.")
    check_limit(TextTooLong, "its id has {:,} characters", len(label.id or ""), MAX_ID)
    prompts = [*map(one_spelling, label.prompts)]
    if len(set(prompts)) < len(prompts) or not all(map(str.strip, prompts)):
        raise InvalidInput("it has a prompt twice, or an empty one.")
    for prompt in prompts:
        check_limit(BadPromptTemplate, "a prompt has {:,} slots", prompt.count(SLOT), MAX_SLOTS)
        chars = filled_chars(prompt, len(label.label))
        check_limit(TextTooLong, "a prompt has {:,} characters", chars, limits.max_prompt_chars)

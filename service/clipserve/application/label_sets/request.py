"""The request to put a label set, and its checks, which come before any computation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import MAX_ID, LabelFields, LabelSetFields
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    chars_at_most,
    check_fields,
    check_labels,
    check_range,
)
from clipserve.api.requests import Choice
from clipserve.application.label_sets.definition import Definition, digest_of
from clipserve.application.label_sets.trained import check_trained
from clipserve.application.requests import expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import MAX_SLOTS, SLOT, filled_chars, one_spelling, slots_in
from clipserve.errors import BadPromptTemplate, ClipError, InvalidInput

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class LabelSetLimits:
    """`max_label_sets` and `max_label_sets_bytes` limit all sets together, the others one set."""

    max_label_sets: int = 1_000
    max_label_sets_bytes: int = 256_000_000
    max_label_set_bytes: int = 8_000_000
    max_label_set_prompts: int = 100_000
    max_label_set_examples: int = 1_000


@dataclass(frozen=True)
class PutRequest(Choice):
    """A label set to store under a name. `examples`: for each label image files, or their errors."""

    name: str
    fields: LabelSetFields
    examples: Sequence[Sequence[ImageInput]]

    def resolved(self, manifest: ModelManifest, limits: RequestLimits, own: LabelSetLimits) -> Resolved:
        """Check the label set, and fill in the model's defaults.

        Raises:
            InvalidInput and its subclasses: the set exceeds a limit, or is invalid.
        """
        check_name(self.name)
        fields = self.fields
        if not fields.labels:
            raise InvalidInput("there is nothing to choose from: give at least one label.")
        given = [each if isinstance(each, LabelFields) else LabelFields(label=each) for each in fields.labels]
        check_labels([each.label for each in given], fields.background, limits)
        check_fields(fields, limits)
        _check_each(given, limits)
        check_trained(fields, given, manifest)
        at_most("example images", sum(map(len, self.examples)), own.max_label_set_examples)
        images: dict[str, bytes] = {}
        labels = [
            each.model_copy(
                update={
                    "prompts": [*map(one_spelling, each.prompts)],
                    "examples": [*_kept(files, index, images)],
                }
            )
            for index, (each, files) in enumerate(zip(given, self.examples, strict=True))
        ]
        templates: Sequence[str] = ()
        if fields.weights is None:
            by_template = [each.label for each in labels if not each.prompts]
            by_template += fields.background
            templates = expanded_templates(fields.templates, by_template, manifest, limits)
        resolved = {"labels": labels, "templates": [*templates], "model": manifest.name}
        definition = Definition.model_construct(**dict(fields) | resolved)
        at_most("prompts (labels x templates)", sum(definition.prompt_counts()), own.max_label_set_prompts)
        stored = definition.to_bytes()
        size = len(stored) + sum(map(len, images.values()))
        at_most("bytes in the label set", size, own.max_label_set_bytes)
        return Resolved(definition, stored, digest_of(stored), images)


class Resolved(NamedTuple):
    """A checked label set. `stored`: the definition's bytes. `digest`: of these. `images`: by their SHA-256."""

    definition: Definition
    stored: bytes
    digest: str
    images: dict[str, bytes]


def put_request(name: str, fields: LabelSetFields, image: Callable[[str], ImageInput]) -> PutRequest:
    """Make a request. `image`: an entry of `examples` in the front's form -> the image."""
    examples = [
        [*map(image, each.examples)] if isinstance(each, LabelFields) else [] for each in fields.labels
    ]
    return PutRequest(
        name, fields, examples, model=fields.model, expect_fingerprint=fields.expect_fingerprint
    )


def check_name(name: str) -> None:
    """Raises InvalidInput: the name of the label set is malformed."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "the name of a label set has 1 to 64 letters, digits, dots, hyphens and underscores, of ASCII, and "
            "begins with a letter or a digit."
        )


def of_example(error: ClipError, label: int, example: int) -> ClipError:
    """The error of an example image, as an error of its label."""
    own = error.at(label)
    own.detail = f"example {example} of label {label}: {error.detail}"
    own.args = (own.detail,)
    return own


def _check_each(labels: Sequence[LabelFields], limits: RequestLimits) -> None:
    ids: dict[str, int] = {}
    for index, each in enumerate(labels):
        _check_id(each.id, index, ids)
        check_range(f"threshold of label {index}", each.threshold, -1.0, 1.0)
        at_most(f"prompts of label {index}", len(each.prompts), limits.max_templates)
        if len(set(map(one_spelling, each.prompts))) < len(each.prompts):
            raise InvalidInput(f"label {index} has a prompt twice.", index=index)
        for prompt in each.prompts:
            _check_prompt(prompt, len(each.label), index, limits)


def _check_id(own: str | None, index: int, ids: dict[str, int]) -> None:
    if own is None:
        return
    if not own.strip() or not own.isprintable():
        raise InvalidInput(f"the id of label {index} must have printable characters.", index=index)
    chars_at_most(f"the id of label {index}", len(own), MAX_ID, index)
    if own in ids:
        raise InvalidInput(f"the id of label {index} is that of label {ids[own]} too.", index=index)
    ids[own] = index


def _check_prompt(prompt: str, label_chars: int, index: int, limits: RequestLimits) -> None:
    what = f"a prompt of label {index}"
    if not prompt.strip():
        raise InvalidInput(f"{what} is empty.", index=index)
    if (slots := slots_in(prompt)) > MAX_SLOTS:
        raise BadPromptTemplate(
            f"{what} has {slots:,} slots {SLOT}; the limit is {MAX_SLOTS}.",
            limit=MAX_SLOTS,
            actual=slots,
            index=index,
        )
    chars_at_most(what, filled_chars(one_spelling(prompt), label_chars), limits.max_prompt_chars, index)


def _kept(files: Sequence[ImageInput], label: int, images: dict[str, bytes]) -> Iterator[str]:
    """The SHA-256 of each, by which it is put into `images`."""
    for position, file in enumerate(files):
        if isinstance(file, ClipError):
            raise of_example(file, label, position)
        digest = hashlib.sha256(file).hexdigest()
        images[digest] = file
        yield digest

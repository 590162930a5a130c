"""What may be asked of label sets, checked before anything is computed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clipserve.application.encoder import ImageInput
from clipserve.application.label_sets.definition import Definition, Label
from clipserve.application.label_sets.fields import LabelFields, LabelSetFields
from clipserve.application.limits import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    RequestLimits,
    at_most,
    check_labels,
    check_range,
)
from clipserve.application.requests import Choice, expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import MAX_SLOTS, SLOT, filled_chars, one_spelling, slots_in
from clipserve.errors import BadPromptTemplate, ClipError, InvalidInput, TextTooLong

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_ID = 128  # characters


@dataclass(frozen=True)
class LabelSetLimits:
    """`max_label_sets` and `max_label_sets_bytes` are of all, the others of one; see these settings."""

    max_label_sets: int = 1_000
    max_label_sets_bytes: int = 256_000_000
    max_label_set_bytes: int = 8_000_000
    max_label_set_prompts: int = 100_000
    max_label_set_examples: int = 1_000


@dataclass(frozen=True)
class PutRequest(Choice):
    """A label set to be kept under a name. `examples`: of each label, image files, or why there are none."""

    name: str
    fields: LabelSetFields
    examples: Sequence[Sequence[ImageInput]]

    def check(self, limits: RequestLimits, own: LabelSetLimits) -> None:
        """Raises InvalidInput and its kinds: it is not within the limits, or it makes no sense."""
        check_name(self.name)
        fields = self.fields
        if not fields.labels:
            raise InvalidInput("there is nothing to choose from: give at least one label.")
        check_labels([_name(each) for each in fields.labels], fields.background, limits)
        check_range("temperature", fields.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)
        check_range("threshold", fields.threshold, -1.0, 1.0)
        check_range("example_weight", fields.example_weight, 0.0, 1.0)
        ids: dict[str, int] = {}
        for index, each in enumerate(fields.labels):
            if isinstance(each, LabelFields):
                _check_id(each.id, index, ids)
                check_range(f"threshold of label {index}", each.threshold, -1.0, 1.0)
                _check_prompts(each, index, limits)
        self._check_examples(own)
        at_most("bytes in the label set", self._size(), own.max_label_set_bytes)

    def _check_examples(self, own: LabelSetLimits) -> None:
        at_most("example images", sum(map(len, self.examples)), own.max_label_set_examples)
        for index, images in enumerate(self.examples):
            for position, image in enumerate(images):
                if isinstance(image, ClipError):
                    raise of_example(image, index, position)

    def _size(self) -> int:
        texts = [*self.fields.templates, *self.fields.background]
        for each in self.fields.labels:
            texts += [each] if isinstance(each, str) else [each.label, each.id or "", *each.prompts]
        images = (len(image) for images in self.examples for image in images if isinstance(image, bytes))
        return sum(len(text.encode("utf-8", "replace")) for text in texts) + sum(images)

    def resolved(
        self, manifest: ModelManifest, limits: RequestLimits, own: LabelSetLimits
    ) -> tuple[Definition, dict[str, bytes]]:
        """With all that is left to the model filled in; and its images by their SHA-256.

        Raises:
            BadPromptTemplate, TooMany, TextTooLong: see `expanded_templates`; or there are too many prompts.
        """
        given = [
            each if isinstance(each, LabelFields) else LabelFields(label=each) for each in self.fields.labels
        ]
        by_template = [each.label for each in given if not each.prompts]
        fields = self.fields
        templates = expanded_templates(fields.templates, [*by_template, *fields.background], manifest, limits)
        images: dict[str, bytes] = {}
        labels = tuple(
            Label(
                each.label,
                each.id,
                tuple(map(one_spelling, each.prompts)),
                _kept(files, images),
                each.threshold,
            )
            for each, files in zip(given, self.examples, strict=True)
        )
        definition = Definition(
            manifest.name,
            labels,
            templates,
            tuple(fields.background),
            fields.truncate,
            fields.scoring,
            fields.temperature,
            fields.threshold,
            fields.example_weight,
        )
        at_most("prompts (labels x templates)", definition.prompt_count(), own.max_label_set_prompts)
        return definition, images


def put_request(name: str, fields: LabelSetFields, image: Callable[[str], ImageInput]) -> PutRequest:
    """`image`: what a front writes in `examples` -> the image."""
    examples = [
        [*map(image, each.examples)] if isinstance(each, LabelFields) else [] for each in fields.labels
    ]
    return PutRequest(
        name, fields, examples, model=fields.model, expect_fingerprint=fields.expect_fingerprint
    )


def check_name(name: str) -> None:
    """Raises InvalidInput: it is no name of a label set."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "the name of a label set has 1 to 64 letters, digits, dots, hyphens and underscores, of ASCII, and "
            "begins with a letter or a digit."
        )


def of_example(error: ClipError, label: int, example: int) -> ClipError:
    """The error of an example image, as one of its label's."""
    own = error.at(label)
    own.detail = f"example {example} of label {label}: {error.detail}"
    own.args = (own.detail,)
    return own


def _name(label: str | LabelFields) -> str:
    return label if isinstance(label, str) else label.label


def _check_id(own: str | None, index: int, ids: dict[str, int]) -> None:
    if own is None:
        return
    if not own.strip() or not own.isprintable():
        raise InvalidInput(f"the id of label {index} must have printable characters.", index=index)
    if len(own) > _MAX_ID:
        raise TextTooLong(
            f"the id of label {index} has {len(own):,} characters; the limit is {_MAX_ID}.",
            limit=_MAX_ID,
            actual=len(own),
            index=index,
        )
    if own in ids:
        raise InvalidInput(f"the id of label {index} is that of label {ids[own]} too.", index=index)
    ids[own] = index


def _check_prompts(label: LabelFields, index: int, limits: RequestLimits) -> None:
    at_most(f"prompts of label {index}", len(label.prompts), limits.max_templates)
    if len(set(map(one_spelling, label.prompts))) < len(label.prompts):
        raise InvalidInput(f"label {index} has a prompt twice.", index=index)
    for prompt in label.prompts:
        _check_prompt(prompt, f"of label {index}", len(label.label), index, limits)


def _check_prompt(prompt: str, whose: str, label_chars: int, index: int, limits: RequestLimits) -> None:
    if not prompt.strip():
        raise InvalidInput(f"a prompt {whose} is empty.", index=index)
    if (slots := slots_in(prompt)) > MAX_SLOTS:
        raise BadPromptTemplate(
            f"a prompt {whose} has {slots:,} slots {SLOT}; the limit is {MAX_SLOTS}.",
            limit=MAX_SLOTS,
            actual=slots,
            index=index,
        )
    if (chars := filled_chars(one_spelling(prompt), label_chars)) > limits.max_prompt_chars:
        raise TextTooLong(
            f"a prompt {whose} has {chars:,} characters; the limit is {limits.max_prompt_chars:,}.",
            limit=limits.max_prompt_chars,
            actual=chars,
            index=index,
        )


def _kept(files: Sequence[ImageInput], images: dict[str, bytes]) -> tuple[str, ...]:
    return tuple(_digests(files, images))


def _digests(files: Sequence[ImageInput], images: dict[str, bytes]) -> Iterator[str]:
    for file in files:
        if isinstance(file, bytes):  # `check` has raised the others
            digest = hashlib.sha256(file).hexdigest()
            images[digest] = file
            yield digest

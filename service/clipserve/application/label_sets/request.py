"""The request to put a label set, and its checks, which come before any computation."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import MAX_ID, MAX_WEIGHT, LabelFields, LabelSetFields
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    check_scoring,
    check_templates,
    each_at_most,
)
from clipserve.application.label_sets.definition import Definition, Record, digest_of, no_cosines
from clipserve.application.requests import expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import MAX_SLOTS, SLOT, filled_chars, one_spelling
from clipserve.errors import BadPromptTemplate, ClipError, InvalidInput, TextTooLong, check_limit

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


@dataclass(frozen=True)
class PutRequest:
    """A label set to store under a name. `examples`: for each label image files, or their errors."""

    name: str
    fields: LabelSetFields
    examples: Sequence[Sequence[ImageInput]]

    def record(self, manifest: ModelManifest, limits: RequestLimits, of_sets: LabelSetLimits) -> Record:
        """Check the label set, and fill in the model's defaults.

        Raises:
            InvalidInput and its subclasses: the set exceeds a limit, or is invalid.
        """
        check_name(self.name)
        fields = self.fields
        if not fields.labels:
            raise InvalidInput("there is nothing to choose from: give at least one label.")
        given = [_with_fields(label) for label in fields.labels]
        check_labels([label.label for label in given], fields.background, limits)
        check_templates(fields.templates, limits)
        check_scoring(fields.temperature, fields.threshold)
        check_range("example_weight", fields.example_weight, 0.0, 1.0)
        _check_each(given, limits)
        _check_trained(fields, given, manifest)
        at_most("example images", sum(map(len, self.examples)), of_sets.max_label_set_examples)
        images: dict[str, bytes] = {}
        labels = []
        for index, (label, files) in enumerate(zip(given, self.examples, strict=True)):
            prompts, examples = [*map(one_spelling, label.prompts)], [*_kept(files, index, images)]
            labels.append(label.model_copy(update={"prompts": prompts, "examples": examples}))
        templates: Sequence[str] = ()
        if fields.weights is None:
            by_template = [*(label.label for label in labels if not label.prompts), *fields.background]
            templates = expanded_templates(fields.templates, by_template, manifest, limits)
        resolved = {"labels": labels, "templates": [*templates], "model": manifest.name}
        definition = Definition.model_construct(**dict(fields) | resolved)
        at_most("prompts (labels x templates)", definition.prompt_count, of_sets.max_label_set_prompts)
        stored = definition.to_bytes()
        size = len(stored) + sum(map(len, images.values()))
        at_most("bytes in the label set", size, of_sets.max_label_set_bytes)
        vectors = len(definition.names) + len(definition.examples) if fields.weights is None else 0
        size += 4 * manifest.embed_dim * vectors
        return Record(digest=digest_of(stored), size=size, definition=definition, images=images)


def put_request(name: str, fields: LabelSetFields, image: Callable[[str], ImageInput]) -> PutRequest:
    """Make a request. `image`: an entry of `examples` in the front's form -> the image."""
    return PutRequest(name, fields, [[*map(image, _with_fields(label).examples)] for label in fields.labels])


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


def _with_fields(label: str | LabelFields) -> LabelFields:
    return LabelFields.model_construct(label=label) if isinstance(label, str) else label


def _check_each(labels: Sequence[LabelFields], limits: RequestLimits) -> None:
    ids: dict[str | None, int] = {}
    for index, label in enumerate(labels):
        try:
            _check_label(label, limits)
        except InvalidInput as error:
            raise error.at(index, f"label {index}: ") from None
        if label.id is not None and (first := ids.setdefault(label.id, index)) != index:
            raise InvalidInput(f"the id of label {index} is that of label {first} too.", index=index)


def _check_label(label: LabelFields, limits: RequestLimits) -> None:
    at_most("prompts", len(label.prompts), limits.max_templates)
    each_at_most("prompt", label.prompts, limits.max_prompt_chars)
    check_scoring(None, label.threshold)
    if label.id is not None:
        if not label.id.strip() or not label.id.isprintable():
            raise InvalidInput("its id must have printable characters.")
        check_limit(TextTooLong, "its id has {:,} characters", len(label.id), MAX_ID)
    prompts = [*map(one_spelling, label.prompts)]
    if len(set(prompts)) < len(prompts):
        raise InvalidInput("it has a prompt twice.")
    for prompt in prompts:
        if not prompt.strip():
            raise InvalidInput("it has an empty prompt.")
        check_limit(BadPromptTemplate, "a prompt has {:,} slots", prompt.count(SLOT), MAX_SLOTS)
        chars = filled_chars(prompt, len(label.label))
        check_limit(TextTooLong, "a prompt has {:,} characters", chars, limits.max_prompt_chars)


def _check_trained(fields: LabelSetFields, labels: Sequence[LabelFields], manifest: ModelManifest) -> None:
    """Raises InvalidInput: weights or biases are malformed, or beside what trained weights exclude."""
    if fields.weights is None:
        if fields.biases:
            raise InvalidInput("biases belong to weights: give weights too, or leave biases out.")
        return
    if not fields.expect_fingerprint:
        raise InvalidInput(
            "weights are of one model, and mean nothing for another: give its fingerprint, expect_fingerprint."
        )
    if fields.scoring == "cosine":
        raise no_cosines("the set")
    for name in ("templates", "background", "truncate"):
        if getattr(fields, name):
            raise InvalidInput(f"a set has weights or {name}, and not both: leave out one of them.")
    for index, label in enumerate(labels):
        for name in ("prompts", "examples"):
            if getattr(label, name):
                detail = f"label {index} has {name}, and the set has weights: leave out one of them."
                raise InvalidInput(detail, index=index)
    if len(fields.biases) not in (0, len(labels)):
        raise InvalidInput(
            f"there are {len(fields.biases):,} biases for {len(labels):,} labels: give one for each, or none.",
            limit=len(labels),
            actual=len(fields.biases),
        )
    _check_numbers("a weight", _matrix(fields.weights, len(labels), manifest))
    _check_numbers("the bias", np.reshape(fields.biases, (-1, 1)))


def _matrix(weights: str, labels: int, manifest: ModelManifest) -> npt.NDArray[np.float32]:
    """The weights, float32 [labels, D]. Raises InvalidInput: they are too few or too many, or no base64."""
    dim = manifest.embed_dim
    wanted = 4 * labels * dim
    if (size := len(weights) // 4 * 3 - weights[-2:].count("=")) != wanted:  # before any is decoded
        raise InvalidInput(
            f"weights has {size:,} bytes, and {labels:,} labels of {manifest.name} need {wanted:,}: base64 of "
            f"float32, little-endian, {dim:,} numbers for each label.",
            limit=wanted,
            actual=size,
        )
    try:
        return np.frombuffer(binascii.a2b_base64(weights, strict_mode=True), "<f4").reshape(labels, dim)
    except ValueError:
        raise InvalidInput("weights is not valid base64.") from None


def _check_numbers(what: str, numbers: npt.NDArray[np.floating]) -> None:
    """Raises InvalidInput: one of them, [K, n], is too large or no number."""
    for label, place in np.argwhere(~(np.abs(numbers) <= MAX_WEIGHT))[:1].tolist():
        value = float(numbers[label, place])
        raise InvalidInput(
            f"{what} of label {label} is {value:g}; it must be from {-MAX_WEIGHT:,.0f} to {MAX_WEIGHT:,.0f}.",
            limit=MAX_WEIGHT,
            actual=value,
            index=label,
        )


def _kept(files: Sequence[ImageInput], label: int, images: dict[str, bytes]) -> Iterator[str]:
    """The SHA-256 of each, by which it is put into `images`."""
    for position, file in enumerate(files):
        if isinstance(file, ClipError):
            raise of_example(file, label, position)
        digest = hashlib.sha256(file).hexdigest()
        images[digest] = file
        yield digest

"""The request to put a label set, and its checks, which come before any computation."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import MAX_ID, LabelFields, LabelSetFields
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    check_scoring,
    check_templates,
    each_at_most,
)
from clipserve.application.label_sets.definition import Definition, Record, digest_of
from clipserve.application.label_sets.store import Folder
from clipserve.application.requests import expanded_templates
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import MAX_SLOTS, SLOT, filled_chars, one_spelling
from clipserve.errors import (
    BadPromptTemplate,
    ClipError,
    InvalidInput,
    TextTooLong,
    UndecodableImage,
    check_limit,
)

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
    """A label set to store under a name. `examples`: for each of `labels` image files, or their errors."""

    name: str
    fields: LabelSetFields
    labels: Sequence[LabelFields]
    examples: Sequence[Sequence[ImageInput]]

    def record(self, manifest: ModelManifest, limits: RequestLimits, of_sets: LabelSetLimits) -> Record:
        """Check the label set, and fill in the model's defaults.

        Raises:
            InvalidInput and its subclasses: the set exceeds a limit, or is invalid.
        """
        check_name(self.name)
        fields, images = self.fields, dict[str, bytes]()
        _check(fields, self.labels, limits)
        at_most("example images", sum(map(len, self.examples)), of_sets.max_label_set_examples)
        labels = []
        for index, label in enumerate(self.labels):
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
        stored = definition.to_bytes()
        size = len(stored) + sum(map(len, images.values()))
        at_most("bytes in the label set", size, of_sets.max_label_set_bytes)
        size += 4 * manifest.embed_dim * definition.rows
        return Record(digest=digest_of(stored), size=size, definition=definition, images=images)


def put_request(name: str, fields: LabelSetFields, image: Callable[[str], ImageInput]) -> PutRequest:
    """Make a request. `image`: an entry of `examples` in the API's form -> the image."""
    labels = [
        LabelFields.model_construct(label=each) if isinstance(each, str) else each for each in fields.labels
    ]
    return PutRequest(name, fields, labels, [[*map(image, label.examples)] for label in labels])


def written(folder: Folder, file: str, text: bytes) -> PutRequest:
    """The request that people wrote into a file of the folder, `pets.toml` or `pets.json`.

    It has the fields of a request to put the set; its examples are names of image files beside it.

    Raises:
        ValueError, TypeError, RecursionError: it is no label set.
    """
    name, _, kind = file.rpartition(".")
    fields = tomllib.loads(text.decode()) if kind == "toml" else json.loads(text)

    def image(named: str) -> ImageInput:
        try:
            return folder.file(named)
        except ValueError:
            return UndecodableImage(f"there is no file {named[:64]!r} beside it that can be read.")

    return put_request(name, LabelSetFields.model_validate(fields), image)


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
    check_templates(fields.templates, limits)
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

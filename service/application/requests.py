"""What may be asked. The checks that every front needs are here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.application.encoder import ImageInput
from service.clip.images import ImageHeader
from service.clip.manifest import ModelManifest
from service.clip.prompts import expand, filled_chars
from service.errors import ClipError, InvalidInput, TextTooLong, TooMany


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold. `max_request_pixels`: of its images together, by their headers.

    `max_label_chars` is of one label, `max_label_bytes` of all together. A prompt is a template with a label in its
    slots: `max_prompt_chars` is of one, `max_prompts_chars` of all together.
    """

    max_images: int = 32
    max_request_pixels: int = 100_000_000
    max_texts: int = 256
    max_text_chars: int = 8_192
    max_labels: int = 1_000
    max_label_chars: int = 512
    max_label_bytes: int = 65_536
    max_templates: int = 100
    max_prompt_chars: int = 1_024
    max_prompts_chars: int = 8_000_000


@dataclass(frozen=True)
class Choice:
    """Whom it is for. No model: the first. `expect_fingerprint`: that of vectors the caller has; empty: any."""

    model: str | None = field(default=None, kw_only=True)
    expect_fingerprint: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ClassifyRequest(Choice):
    """Images and labels. No templates: the model's own. No top_k: all labels."""

    images: Sequence[ImageInput]
    labels: Sequence[str]
    templates: Sequence[str] = ()
    top_k: int | None = None
    truncate: bool = False

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.images:
            raise InvalidInput("there is nothing to classify: send at least one image.")
        if not self.labels:
            raise InvalidInput("there is nothing to choose from: send at least one label.")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidInput(f"top_k is {self.top_k}; it must be at least 1.", limit=1, actual=self.top_k)
        _at_most("images", len(self.images), limits.max_images)
        _at_most("labels", len(self.labels), limits.max_labels)
        label_bytes = sum(len(label.encode("utf-8", "replace")) for label in self.labels)
        _at_most("bytes of labels", label_bytes, limits.max_label_bytes)
        _each_at_most("label", self.labels, limits.max_label_chars)
        _distinct(self.labels)

    def expanded_templates(self, manifest: ModelManifest, limits: RequestLimits) -> tuple[str, ...]:
        """The templates, each with its slots `{}`: names of template sets replaced, without any the model's own.

        The prompts that they make of the labels are within the limits too.

        Raises:
            BadPromptTemplate: one has no slot and is no set's name, has too many slots, or is there twice.
            TooMany, TextTooLong: over a limit.
        """
        _at_most("templates", len(self.templates), limits.max_templates)
        _each_at_most("template", self.templates, limits.max_label_chars)
        templates = expand(self.templates or manifest.prompt_templates)
        _at_most("templates", len(templates), limits.max_templates)
        _prompts_at_most(self.labels, templates, limits)
        return templates


@dataclass(frozen=True)
class EmbedRequest(Choice):
    """Images and texts. `all_or_nothing`: the error of one image is the error of the request.

    `dimensions`: how many numbers the caller expects in a vector.
    """

    images: Sequence[ImageInput] = ()
    texts: Sequence[str] = ()
    truncate: bool = False
    all_or_nothing: bool = False
    dimensions: int | None = None

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to embed: send at least one image or text.")
        _at_most("images", len(self.images), limits.max_images)
        _check_texts(self.texts, limits)

    def check_dimensions(self, manifest: ModelManifest) -> None:
        """Raises InvalidInput: the model's vectors have another number of dimensions."""
        if self.dimensions not in (None, manifest.embed_dim):
            raise InvalidInput(
                f"dimensions is {self.dimensions}; the vectors of {manifest.name} have {manifest.embed_dim}, and "
                "cannot be cut: only models that are trained for it (Matryoshka) keep their meaning in the first "
                f"dimensions. Leave dimensions out, or ask for {manifest.embed_dim}.",
                limit=manifest.embed_dim,
                actual=self.dimensions,
            )


@dataclass(frozen=True)
class SimilarityRequest(Choice):
    """Each of these images and texts beside each of `to_images` and `to_texts`."""

    images: Sequence[ImageInput] = ()
    texts: Sequence[str] = ()
    to_images: Sequence[ImageInput] = ()
    to_texts: Sequence[str] = ()
    truncate: bool = False

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany or TextTooLong: nothing to compare, or both sides together over a limit."""
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to compare: send at least one image or text.")
        if not self.to_images and not self.to_texts:
            raise InvalidInput(
                "there is nothing to compare with: send at least one of to_images or to_texts."
            )
        _at_most("images", len(self.images) + len(self.to_images), limits.max_images)
        _check_texts([*self.texts, *self.to_texts], limits)


@dataclass(frozen=True)
class TokenizeRequest(Choice):
    """Texts; those that are too long are not an error."""

    texts: Sequence[str] = ()

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.texts:
            raise InvalidInput("there is nothing to tokenize: send at least one text.")
        _check_texts(self.texts, limits)


def check_pixels(headers: Sequence[ImageHeader | ClipError], limits: RequestLimits) -> None:
    """Of one image alone, its own limit is enough.

    Raises:
        TooMany: the images have too many pixels together.
    """
    pixels = [header.pixels for header in headers if isinstance(header, ImageHeader)]
    if len(pixels) > 1:
        _at_most(f"pixels in its {len(pixels)} images", sum(pixels), limits.max_request_pixels)


def _check_texts(texts: Sequence[str], limits: RequestLimits) -> None:
    _at_most("texts", len(texts), limits.max_texts)
    _each_at_most("text", texts, limits.max_text_chars)


def _at_most(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise TooMany(
            f"the request has {actual:,} {what}; the limit is {limit:,}.", limit=limit, actual=actual
        )


def _each_at_most(what: str, texts: Sequence[str], limit: int) -> None:
    for index, text in enumerate(texts):
        if len(text) > limit:
            raise TextTooLong(
                f"{what} {index} has {len(text):,} characters; the limit is {limit:,}.",
                limit=limit,
                actual=len(text),
                index=index,
            )


def _prompts_at_most(labels: Sequence[str], templates: Sequence[str], limits: RequestLimits) -> None:
    """Counts only: a prompt is made when it is known that all of them fit."""
    longest = max(range(len(labels)), key=lambda index: len(labels[index]))
    chars = max(filled_chars(template, len(labels[longest])) for template in templates)
    if chars > limits.max_prompt_chars:
        raise TextTooLong(
            f"label {longest} makes a prompt of {chars:,} characters; the limit is {limits.max_prompt_chars:,}.",
            limit=limits.max_prompt_chars,
            actual=chars,
            index=longest,
        )
    together = sum(map(len, labels))
    total = sum(filled_chars(template, together, len(labels)) for template in templates)
    _at_most("characters of prompts (labels x templates)", total, limits.max_prompts_chars)


def _distinct(labels: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        if not label.strip():
            raise InvalidInput(f"label {index} is empty.", index=index)
        if label in first:
            # Under softmax two equal labels would halve each other's score.
            raise InvalidInput(f"label {index} is the same as label {first[label]}.", index=index)
        first[label] = index

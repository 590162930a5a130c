"""The limits of a request, and the checks that several kinds of requests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipserve.clip.prompts import filled_chars
from clipserve.errors import InvalidInput, TextTooLong, TooMany


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one request.

    Attributes:
        max_request_pixels: of its images together, by their headers.
        max_label_chars: of one label.
        max_label_bytes: of all labels together.
        max_prompt_chars: of one prompt, a template with a label in its slots.
        max_prompts_chars: of all prompts together.
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
    max_request_label_sets: int = 16


MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 1_000.0


def at_most(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise TooMany(
            f"the request has {actual:,} {what}; the limit is {limit:,}.", limit=limit, actual=actual
        )


def each_at_most(what: str, texts: Sequence[str], limit: int) -> None:
    for index, text in enumerate(texts):
        if len(text) > limit:
            chars_at_most(f"{what} {index}", len(text), limit, index)


def chars_at_most(what: str, actual: int, limit: int, index: int) -> None:
    if actual > limit:
        raise TextTooLong(
            f"{what} has {actual:,} characters; the limit is {limit:,}.",
            limit=limit,
            actual=actual,
            index=index,
        )


def prompts_at_most(labels: Sequence[str], templates: Sequence[str], limits: RequestLimits) -> None:
    """Raises TextTooLong or TooMany: the prompts would be over a limit. It counts, and makes no prompt."""
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
    at_most("characters of prompts (labels x templates)", total, limits.max_prompts_chars)


def check_labels(labels: Sequence[str], background: Sequence[str], limits: RequestLimits) -> None:
    """Raises InvalidInput, TooMany or TextTooLong: a label is empty or a duplicate, or the labels exceed a limit.

    A single label is allowed: its score under softmax is 1, but its cosine and its logit are meaningful.
    """
    together = [*labels, *background]
    at_most("labels", len(together), limits.max_labels)
    label_bytes = sum(len(label.encode("utf-8", "replace")) for label in together)
    at_most("bytes of labels", label_bytes, limits.max_label_bytes)
    each_at_most("label", labels, limits.max_label_chars)
    each_at_most("background label", background, limits.max_label_chars)
    first: dict[str, str] = {}
    for index, label in enumerate(together):
        in_background = index >= len(labels)
        index -= len(labels) * in_background
        name = f"background label {index}" if in_background else f"label {index}"
        if not label.strip():
            raise InvalidInput(f"{name} is empty.", index=index)
        if label in first:
            # Under softmax two equal labels would halve each other's score.
            raise InvalidInput(f"{name} is the same as {first[label]}.", index=index)
        first[label] = name


def check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raises InvalidInput: the number is outside its bounds, or NaN."""
    if value is not None and not least <= value <= most:
        raise InvalidInput(
            f"{name} is {value:g}; it must be from {least:g} to {most:g}.",
            limit=most if value > most else least,
            actual=value,
        )

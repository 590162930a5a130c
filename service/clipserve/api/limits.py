"""The limits of a request: their values and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipserve.clip.prompts import filled_chars
from clipserve.errors import InvalidInput, TextTooLong, TooMany, check_limit

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 1_000.0


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one request.

    `max_request_pixels` is of its images together, by their headers, `max_label_bytes` of all labels, and
    `max_prompts_chars` of all prompts: templates with labels in their slots. `max_label_set_bytes` is of the texts
    and images of a label set.
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
    max_label_set_bytes: int = 8_000_000
    max_label_set_prompts: int = 100_000
    max_label_set_examples: int = 1_000


def at_most(what: str, actual: int, limit: int) -> None:
    """Raises TooMany."""
    check_limit(TooMany, f"the request has {{:,}} {what}", actual, limit)


def each_at_most(what: str, texts: Sequence[str], limit: int) -> None:
    """Raises TextTooLong."""
    for index, text in enumerate(texts):
        if (chars := len(text)) > limit:
            raise TextTooLong(
                f"{what} {index} has {chars:,} characters; the limit is {limit:,}.",
                limit=limit,
                actual=chars,
                index=index,
            )


def prompts_at_most(labels: Sequence[str], templates: Sequence[str], limits: RequestLimits) -> None:
    """Raises TextTooLong or TooMany: the prompts would be over a limit. It counts, and makes no prompt."""
    sizes = [*map(len, labels)]
    chars = max([filled_chars(template, max(sizes)) for template in templates])
    if chars > limits.max_prompt_chars:
        longest = sizes.index(max(sizes))
        raise TextTooLong(
            f"label {longest} makes a prompt of {chars:,} characters; the limit is {limits.max_prompt_chars:,}.",
            limit=limits.max_prompt_chars,
            actual=chars,
            index=longest,
        )
    total = sum([filled_chars(template, sum(sizes), len(labels)) for template in templates])
    at_most("characters of prompts (labels x templates)", total, limits.max_prompts_chars)


def check_templates(templates: Sequence[str], limits: RequestLimits) -> None:
    """Raises TextTooLong or TooMany: templates, or names of template sets, exceed a limit."""
    at_most("templates", len(templates), limits.max_templates)
    each_at_most("template", templates, limits.max_label_chars)


def check_labels(labels: Sequence[str], background: Sequence[str], limits: RequestLimits) -> None:
    """Raises InvalidInput, TooMany or TextTooLong: a label is empty or a duplicate, or the labels exceed a limit.

    A single label is allowed: its score under softmax is 1, but its cosine and its logit are meaningful.
    """
    at_most("labels", len(labels) + len(background), limits.max_labels)
    each_at_most("label", labels, limits.max_label_chars)
    each_at_most("background label", background, limits.max_label_chars)
    together = [*labels, *background]
    label_bytes = sum([len(label.encode("utf-8", "replace")) for label in together])
    at_most("bytes of labels", label_bytes, limits.max_label_bytes)
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


def check_scoring(temperature: float | None, threshold: float | None) -> None:
    """Raises InvalidInput: one of them is outside its bounds."""
    check_range("temperature", temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)
    check_range("threshold", threshold, -1.0, 1.0)


def check_range(name: str, value: float | None, least: float, most: float | None) -> None:
    """Raises InvalidInput: the number is outside its bounds, or NaN. `most` is None: any."""
    if value is None or (least <= value and (most is None or value <= most)):
        return
    bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
    limit = most if most is not None and value > most else least
    shown = f"{value:g}" if isinstance(value, float) else value  # which may have more digits than a float can
    raise InvalidInput(f"{name} is {shown}; it must be {bounds}.", limit=limit, actual=value)

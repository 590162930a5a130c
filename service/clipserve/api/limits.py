"""The limits of a request: their values, the marks of the fields that have them, and their checks.

A mark stands in the `Annotated` type of a field. `check_fields` reads it, and so does the OpenAPI document, where
`$max_images` stands for the value that the service has.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

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


class Mark(Protocol):
    """A limit of one field, or of several fields together."""

    def check(self, request: object, names: Sequence[str], limits: RequestLimits) -> None:
        """Raises InvalidInput: the fields of these names exceed it."""


@dataclass(frozen=True)
class Most:
    """The most items of all lists with this mark together. `limit`: a name of `RequestLimits`; `what`: items."""

    limit: str
    what: str

    def check(self, request: object, names: Sequence[str], limits: RequestLimits) -> None:
        count = 0
        for name in names:
            count += len(getattr(request, name))
        if count > (limit := getattr(limits, self.limit)):
            at_most(self.what, count, limit)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(core) | {"maxItems": f"${self.limit}"}


@dataclass(frozen=True)
class MostChars:
    """The most characters of each text of a list. `limit`: a name in `RequestLimits`; `what`: one of the texts."""

    limit: str
    what: str

    def check(self, request: object, names: Sequence[str], limits: RequestLimits) -> None:
        first = 0  # texts of all fields with this mark are counted together
        for name in names:
            texts: Sequence[str] = getattr(request, name)
            if texts and max(map(len, texts)) > (limit := getattr(limits, self.limit)):
                each_at_most(self.what, texts, limit, first)
            first += len(texts)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shown = handler(core)
        shown["items"]["maxLength"] = f"${self.limit}"
        return shown


@dataclass(frozen=True)
class Between:
    """The least and the most of a number, or of None. `most` is None: any."""

    least: float
    most: float | None = None

    def check(self, request: object, names: Sequence[str], _: RequestLimits) -> None:
        for name in names:
            check_range(name, getattr(request, name), self.least, self.most)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        most = {} if self.most is None else {"maximum": self.most}
        return handler(core) | {"minimum": self.least} | most


def check_fields(request: object, limits: RequestLimits) -> None:
    """Check all marks of a request's fields. Raises InvalidInput, TooMany or TextTooLong."""
    kind: Any = type(request)
    for mark, names in marks_of(kind):
        mark.check(request, names, limits)


@functools.cache
def marks_of(kind: Any) -> Sequence[tuple[Mark, tuple[str, ...]]]:
    """The marks of a class's fields, each with the names of the fields that have it."""
    found: dict[Mark, list[str]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for mark in _marks(hint):
            found.setdefault(mark, []).append(name)
    return [(mark, tuple(names)) for mark, names in found.items()]


def _marks(hint: Any) -> Iterator[Mark]:
    """Of the type itself, or of one that it may be, as in `Annotated[float, Between(0, 1)] | None`."""
    for part in (hint, *getattr(hint, "__args__", ())):
        metadata = getattr(part, "__metadata__", ())
        yield from (mark for mark in metadata if isinstance(mark, Most | MostChars | Between))


def at_most(what: str, actual: int, limit: int) -> None:
    """Raises TooMany."""
    if actual > limit:
        raise TooMany(
            f"the request has {actual:,} {what}; the limit is {limit:,}.", limit=limit, actual=actual
        )


def each_at_most(what: str, texts: Sequence[str], limit: int, first: int = 0) -> None:
    """`first`: the number of the first text. Raises TextTooLong."""
    for index, text in enumerate(texts, first):
        if (chars := len(text)) > limit:
            raise TextTooLong(
                f"{what} {index} has {chars:,} characters; the limit is {limit:,}.",
                limit=limit,
                actual=chars,
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
    at_most("labels", len(labels) + len(background), limits.max_labels)
    each_at_most("label", labels, limits.max_label_chars)
    each_at_most("background label", background, limits.max_label_chars)
    check_distinct(labels, background, limits)


def check_distinct(labels: Sequence[str], background: Sequence[str], limits: RequestLimits) -> None:
    """Raises InvalidInput or TooMany: a label is empty or a duplicate, or all have too many bytes together."""
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


def check_range(name: str, value: float | None, least: float, most: float | None) -> None:
    """Raises InvalidInput: the number is outside its bounds, or NaN. `most` is None: any."""
    if value is None or (least <= value and (most is None or value <= most)):
        return
    bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
    limit = most if most is not None and value > most else least
    shown = f"{value:g}" if isinstance(value, float) else value  # which may have more digits than a float can
    raise InvalidInput(f"{name} is {shown}; it must be {bounds}.", limit=limit, actual=value)

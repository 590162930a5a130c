"""Translates the enums of clip.proto to and from the application's words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from clipserve.errors import InvalidInput
from clipserve.v1 import clip_pb2

# What 0 stands for, which is the same as no value.
_UNSPECIFIED = {"EmbeddingType": "float32", "Scoring": "that of the label set or the model"}


@cache
def words(enum: Any) -> Mapping[int, str]:
    """Number -> word: the name in clip.proto behind that of the enum, in lower case. 0 has none.

    `enum`: its descriptor.
    """
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values if value.number}


def _numbers(enum: Any) -> Mapping[str, Any]:
    return {word: number for number, word in words(enum.DESCRIPTOR).items()}


SCORINGS = _numbers(clip_pb2.Scoring)
STATES = _numbers(clip_pb2.LabelSetState)


def word_of(field: Any, number: int) -> str:
    """The word of a number in a field. Raises InvalidInput: the number is unknown."""
    known = words(field.enum_type)
    if number not in known:
        raise InvalidInput(
            f"{field.name} is {number}; known are 1 to {max(known)}, and 0 for "
            f"{_UNSPECIFIED[field.enum_type.name]}.",
            limit=max(known),
            actual=number,
        )
    return known[number]

"""Translates the enums of clip.proto to and from the application's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from clipserve.application.encodings import EmbeddingType
from clipserve.application.label_sets.entry import State
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.errors import InvalidInput
from clipserve.v1 import clip_pb2

T = TypeVar("T")


def _words(enum: Any, default: str | None) -> Mapping[int, Any]:
    """Number -> word: the name in clip.proto behind that of the enum, in lower case. 0 stands for `default`."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items()} | {0: default}


_EMBEDDING_TYPES: Mapping[int, EmbeddingType] = _words(clip_pb2.EmbeddingType, "float32")
_SCORINGS: Mapping[int, ScoringFunction | None] = _words(clip_pb2.Scoring, None)
SCORINGS: Mapping[ScoringFunction | None, Any] = {word: number for number, word in _SCORINGS.items()}
STATES: Mapping[State, Any] = {word: number for number, word in _words(clip_pb2.LabelSetState, None).items()}


def embedding_type(number: int) -> EmbeddingType:
    """The type of a number in the enum. Raises InvalidInput: the number is unknown."""
    return _word("embedding_type", number, _EMBEDDING_TYPES, "float32")


def scoring(number: int) -> ScoringFunction | None:
    """The scoring of a number in the enum. Raises InvalidInput: the number is unknown."""
    return _word("scoring", number, _SCORINGS, "that of the label set or the model")


def _word(name: str, number: int, words: Mapping[int, T], default: str) -> T:
    if number not in words:
        raise InvalidInput(
            f"{name} is {number}; known are 1 to {max(words)}, and 0 for {default}.",
            limit=max(words),
            actual=number,
        )
    return words[number]

"""The enums of clip.proto, and the words of the core that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from clipserve.application.encodings import EmbeddingType
from clipserve.application.label_sets.entry import State
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.errors import InvalidInput
from clipserve.v1 import clip_pb2

T = TypeVar("T")

_EMBEDDING_TYPES: Mapping[int, EmbeddingType] = {
    clip_pb2.EMBEDDING_TYPE_UNSPECIFIED: "float32",
    clip_pb2.EMBEDDING_TYPE_FLOAT32: "float32",
    clip_pb2.EMBEDDING_TYPE_FLOAT16: "float16",
    clip_pb2.EMBEDDING_TYPE_INT8: "int8",
    clip_pb2.EMBEDDING_TYPE_BINARY: "binary",
    clip_pb2.EMBEDDING_TYPE_UBINARY: "ubinary",
}
_SCORINGS: Mapping[int, ScoringFunction | None] = {
    clip_pb2.SCORING_UNSPECIFIED: None,
    clip_pb2.SCORING_SOFTMAX: "softmax",
    clip_pb2.SCORING_SIGMOID: "sigmoid",
    clip_pb2.SCORING_COSINE: "cosine",
}
SCORINGS: Mapping[ScoringFunction | None, clip_pb2.Scoring] = {
    word: clip_pb2.Scoring.ValueType(number) for number, word in _SCORINGS.items()
}
STATES: Mapping[State, clip_pb2.LabelSetState] = {
    "ready": clip_pb2.LABEL_SET_STATE_READY,
    "building": clip_pb2.LABEL_SET_STATE_BUILDING,
    "failed": clip_pb2.LABEL_SET_STATE_FAILED,
}


def embedding_type(number: int) -> EmbeddingType:
    """Raises InvalidInput: it is none of those known."""
    return _word("embedding_type", number, _EMBEDDING_TYPES, "float32")


def scoring(number: int) -> ScoringFunction | None:
    """Raises InvalidInput: it is none of those known."""
    return _word("scoring", number, _SCORINGS, "that of the label set or the model")


def _word(name: str, number: int, words: Mapping[int, T], default: str) -> T:
    if number not in words:
        raise InvalidInput(
            f"{name} is {number}; known are 1 to {max(words)}, and 0 for {default}.",
            limit=max(words),
            actual=number,
        )
    return words[number]

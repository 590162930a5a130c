"""The words of the core are the names of clip.proto."""

from __future__ import annotations

from typing import get_args

import pytest

from clipserve.application.encodings import EmbeddingType
from clipserve.clip.zeroshot import SCORING_FUNCTIONS
from clipserve.errors import InvalidInput
from clipserve.rpc.enums import SCORINGS, STATES, embedding_type, scoring
from clipserve.v1 import clip_pb2


def test_each_word_has_its_number_and_each_number_its_word() -> None:
    assert [embedding_type(number) for number in range(1, 6)] == list(get_args(EmbeddingType))
    assert [scoring(number) for number in range(1, 4)] == list(SCORING_FUNCTIONS)
    assert {word: scoring(number) for word, number in SCORINGS.items()} == {word: word for word in SCORINGS}
    assert STATES.keys() == {"ready", "building", "failed", None}
    assert STATES["building"] == clip_pb2.LABEL_SET_STATE_BUILDING


def test_none_is_the_default() -> None:
    assert (embedding_type(0), scoring(0)) == ("float32", None)


@pytest.mark.parametrize("number", [-1, 6, 2**31 - 1])
def test_an_unknown_number_is_refused(number: int) -> None:
    with pytest.raises(
        InvalidInput, match=f"embedding_type is {number}; known are 1 to 5, and 0 for float32"
    ):
        embedding_type(number)

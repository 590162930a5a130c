"""The words of the core are the names of clip.proto."""

from __future__ import annotations

from typing import get_args

import pytest

from clipserve.application.label_sets.served import State
from clipserve.errors import InvalidInput
from clipserve.rpc.requests import word_of, words
from clipserve.v1 import clip_pb2


def test_each_number_but_0_of_a_state_has_a_word_of_the_core_and_each_word_has_a_number() -> None:
    """Those of requests are compared in test_requests.py."""
    numbers = words(clip_pb2.LabelSetState.DESCRIPTOR)
    assert sorted(numbers.values()) == sorted(get_args(State))
    assert 0 not in numbers


@pytest.mark.parametrize("number", [-1, 6, 2**31 - 1])
def test_an_unknown_number_is_refused(number: int) -> None:
    field = clip_pb2.EmbedRequest.DESCRIPTOR.fields_by_name["embedding_type"]
    with pytest.raises(
        InvalidInput, match=f"embedding_type is {number}; known are 1 to 5, and 0 for float32"
    ):
        word_of(field, number)

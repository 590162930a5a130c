"""A message of clip.proto and its type have the same fields; that they mean the same, tests/apis shows."""

from __future__ import annotations

from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import pytest

from clipserve.api import answers
from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.api.sets import State
from clipserve.rpc.requests import words
from clipserve.v1 import clip_pb2

# Message, type, and the fields that only one of them has: REST has a set's name in the path, and encodings of JSON.
PAIRS: list[tuple[Any, type, set[str]]] = [
    (clip_pb2.ClassifyRequest, ClassifyRequest, set()),
    (clip_pb2.EmbedRequest, EmbedRequest, {"encoding_format"}),
    (clip_pb2.SimilarityRequest, SimilarityRequest, set()),
    (clip_pb2.TokenizeRequest, TokenizeRequest, set()),
    (clip_pb2.PutLabelSetRequest, LabelSetFields, {"name"}),
    (clip_pb2.NewLabel, LabelFields, set()),
    (clip_pb2.LabelScore, answers.LabelScore, set()),
    (clip_pb2.LabelSetVersion, answers.UsedLabelSet, set()),
    (clip_pb2.TokenizeResponse, answers.Tokenization, set()),
    (clip_pb2.TokenizeResult, answers.TextTokens, set()),
]


@pytest.mark.parametrize(
    ("message", "kind", "allowed"), PAIRS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_message_and_its_type_have_the_same_fields(message: Any, kind: type, allowed: set[str]) -> None:
    hints = get_type_hints(kind, localns={"ImageSource": bytes})  # a name that type checkers alone know
    in_type = {name for name, hint in hints.items() if get_origin(hint) is not ClassVar}
    assert {*message.DESCRIPTOR.fields_by_name} ^ in_type == allowed


def test_a_message_of_a_stream_is_on_the_wire_an_embed_request_with_one_item() -> None:
    def fields(message: Any, renamed: dict[str, str]) -> dict[int, tuple[str, int]]:
        return {
            field.number: (renamed.get(field.name, field.name), field.type)
            for field in message.DESCRIPTOR.fields
        }

    renamed = {"image": "images", "text": "texts"}
    assert fields(clip_pb2.EmbedStreamRequest, renamed) == fields(clip_pb2.EmbedRequest, {})


def test_each_number_but_0_of_a_state_has_a_word_of_the_core_and_each_word_has_a_number() -> None:
    numbers = words(clip_pb2.LabelSetState.DESCRIPTOR)
    assert sorted(numbers.values()) == sorted(get_args(State))
    assert 0 not in numbers

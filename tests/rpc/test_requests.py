"""A message of clip.proto and the type that it becomes have the same fields, of the same types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.descriptor import FieldDescriptor
from pydantic_core import PydanticUndefined

from clipserve.api import answers
from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.label_sets.served import State
from clipserve.errors import InvalidInput
from clipserve.rpc.requests import word_of, words
from clipserve.v1 import clip_pb2

TYPES = {
    FieldDescriptor.TYPE_STRING: "str",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "float",
}
# Message, type, and the fields that only one of them has or that differ, with the reason.
PAIRS: list[tuple[Any, type, dict[str, str]]] = [
    (clip_pb2.ClassifyRequest, ClassifyRequest, {}),
    (
        clip_pb2.EmbedRequest,
        EmbedRequest,
        {"encoding_format": "of JSON"},
    ),
    (clip_pb2.SimilarityRequest, SimilarityRequest, {}),
    (clip_pb2.TokenizeRequest, TokenizeRequest, {}),
    (
        clip_pb2.PutLabelSetRequest,
        LabelSetFields,
        {
            "name": "REST has it in the path",
            "labels": "messages, each of which is compared below",
            "weights": "REST has base64",
        },
    ),
    (clip_pb2.NewLabel, LabelFields, {"examples": "REST has base64"}),
    (clip_pb2.LabelScore, answers.LabelScore, {}),
    (clip_pb2.LabelSetVersion, answers.UsedLabelSet, {}),
    (
        clip_pb2.TokenizeResponse,
        answers.Tokenization,
        {"results": "messages, each of which is compared below"},
    ),
    (clip_pb2.TokenizeResult, answers.TextTokens, {}),
]


def of_message(message: Any) -> dict[str, str]:
    return {field.name: _of_field(field) for field in message.DESCRIPTOR.fields}


def _of_field(field: Any) -> str:
    if field.type == field.TYPE_MESSAGE:
        return f"a {field.message_type.name}"
    if field.type == field.TYPE_ENUM:
        return ", ".join(sorted(words(field.enum_type).values()))
    kind = TYPES[field.type]
    if isinstance(field.default_value, list):
        return f"several {kind}"
    return f"{kind} or nothing" if field.has_presence else kind


def of_type(kind: type) -> dict[str, str]:
    # The type of an image is known to type checkers alone: it loads Pillow.
    hints = get_type_hints(kind, localns={"ImageSource": bytes})
    found = {name: _of_hint(hint) for name, hint in hints.items() if get_origin(hint) is not ClassVar}
    # A field of proto3 that is not optional is false, 0 or empty where a caller says nothing.
    plain = {name for name, said in found.items() if said in TYPES.values() and default_of(kind, name)}
    return found | {name: f"{found[name]} or nothing" for name in plain}


def default_of(kind: Any, name: str) -> object:
    """What the field is where nothing is said; None: it must be said."""
    fields = getattr(kind, "model_fields", None) or kind.__dataclass_fields__
    default: object = fields[name].default
    return None if default in (MISSING, PydanticUndefined) else default


def _of_hint(hint: Any) -> str:
    hint = getattr(hint, "__value__", hint)  # of an alias
    given = [each for each in get_args(hint) if each is not NoneType]
    if bytes in given and get_origin(hint) not in (list, Sequence):  # an image, or its error, or its URL
        return "bytes"
    if NoneType in get_args(hint):
        found = _of_hint(given[0])
        return found if ", " in found else f"{found} or nothing"
    if get_origin(hint) is Literal:
        return ", ".join(sorted(given))
    if get_origin(hint) in (list, Sequence):
        return f"several {_of_hint(given[0])}"
    return str(getattr(hint, "__name__", hint))


def test_what_is_true_by_default_is_optional_in_the_message() -> None:
    @dataclass
    class Kind:
        cut: bool = True
        raw: bool = False

    assert of_type(Kind) == {"cut": "bool or nothing", "raw": "bool"}


@pytest.mark.parametrize(
    ("message", "kind", "allowed"), PAIRS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_message_and_its_type_have_the_same_fields(
    message: Any, kind: type, allowed: dict[str, str]
) -> None:
    in_message, in_type = of_message(message), of_type(kind)
    names = in_message.keys() | in_type.keys()
    assert allowed.keys() <= names
    differences = {
        name: f"clip.proto: {in_message.get(name)}; {kind.__name__}: {in_type.get(name)}"
        for name in names - allowed.keys()
        if in_message.get(name) != in_type.get(name)
    }
    assert differences == {}


def test_a_message_of_a_stream_is_on_the_wire_an_embed_request_with_one_item() -> None:
    def fields(message: Any, renamed: dict[str, str]) -> dict[int, tuple[str, int]]:
        return {
            field.number: (renamed.get(field.name, field.name), field.type)
            for field in message.DESCRIPTOR.fields
        }

    renamed = {"image": "images", "text": "texts"}
    assert fields(clip_pb2.EmbedStreamRequest, renamed) == fields(clip_pb2.EmbedRequest, {})
    options = {"truncate": True, "embedding_type": 3, "model": "toy", "expect_fingerprint": ""}
    for name, value in (("image", b"file"), ("image", b""), ("text", "a cat"), ("text", "")):
        item = clip_pb2.EmbedStreamRequest(**{name: value}, **options)  # type: ignore[arg-type]
        request = clip_pb2.EmbedRequest(**{renamed[name]: [value]}, **options)  # type: ignore[arg-type]
        assert clip_pb2.EmbedRequest.FromString(item.SerializeToString()) == request


def test_each_number_but_0_of_a_state_has_a_word_of_the_core_and_each_word_has_a_number() -> None:
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

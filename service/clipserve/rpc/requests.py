"""Makes requests of messages: the fields of both have the same names, and enums the application's words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.message import Message

from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.requests import EmbedRequest
from clipserve.application.label_sets.definition import PutRequest
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


def fields_of(message: Message) -> dict[str, Any]:
    """The fields of a message by name, with words in place of numbers, without optional ones that have no value.

    Raises InvalidInput: the number of an enum is unknown.
    """
    types = _types(message.DESCRIPTOR)
    fields: dict[str, Any] = {name: of_type() for name, of_type in types.items()}
    for field, value in message.ListFields():  # those that are not empty, 0 or false
        if field.type == field.TYPE_ENUM:
            fields[field.name] = word_of(field, value)
        else:
            fields[field.name] = list(value) if types.get(field.name) is list else value
    return fields


@cache
def _types(descriptor: Any) -> dict[str, type]:
    """The fields that all such messages have, with their types. The number 0 of an enum is no value."""
    return {
        field.name: type(field.default_value)
        for field in descriptor.fields
        if not field.has_presence and field.type != field.TYPE_ENUM
    }


def embed_item(message: clip_pb2.EmbedRequest) -> EmbedRequest:
    """The request for one item. Raises InvalidInput: there is not one, or the number of an enum is unknown."""
    request = EmbedRequest(**fields_of(message))
    if len(request.images) + len(request.texts) != 1:
        raise InvalidInput("each message has one item: an image or a text.")
    return request


def put_label_set(message: clip_pb2.PutLabelSetRequest) -> PutRequest:
    """The request to put a label set. Raises InvalidInput: the number of `scoring` is unknown."""
    labels = [LabelFields.model_construct(**fields_of(label) | {"examples": []}) for label in message.labels]
    # Not validated once more: a message has its types, and the check of the request refuses NaN.
    label_set = LabelSetFields.model_construct(**fields_of(message) | {"labels": labels})
    return PutRequest(message.name, label_set, [label.examples for label in message.labels])

"""Makes requests of messages: the fields of both have the same names."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

from clipserve.api.label_sets import LabelFields, LabelSetFields
from clipserve.api.requests import EmbedRequest
from clipserve.application.body import Body
from clipserve.application.label_sets.request import PutRequest, put_request
from clipserve.errors import InvalidInput
from clipserve.rpc.enums import word_of
from clipserve.rpc.message import MessageParser, Parts
from clipserve.v1 import clip_pb2

T = TypeVar("T")


def from_message(kind: type[T], message: Message, images: Parts) -> T:
    """A request of this kind. A field that the message does not have has its default.

    Raises:
        InvalidInput: the number of an enum is unknown.
    """
    return kind(**fields_of(message) | images)


def fields_of(message: Message) -> dict[str, Any]:
    """The fields of a message by name: lists of their values, and words in place of numbers of enums.

    Optional fields without a value are left out.

    Raises:
        InvalidInput: the number of an enum is unknown.
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


def embed_item(body: Body, parser: MessageParser) -> EmbedRequest:
    """The request for one item. A message of EmbedStream has the bytes of an EmbedRequest with one image or text.

    Raises:
        MalformedRequest, BodyTooLarge, TooMany: see `MessageParser.parse`.
        InvalidInput: there is no item, or more than one, or the number of `embedding_type` is unknown.
    """
    request = from_message(EmbedRequest, *parser.parse(clip_pb2.EmbedRequest, body.take()))
    if len(request.images) + len(request.texts) != 1:
        raise InvalidInput("each message has one item: an image or a text.")
    return request


def put_label_set(body: Body, parser: MessageParser) -> PutRequest:
    """The request to put a label set, whose labels are messages with example images.

    Raises:
        MalformedRequest, BodyTooLarge, TooMany: see `MessageParser.parse`.
        InvalidInput: the number of `scoring` is unknown.
    """
    message, parts = parser.parse(clip_pb2.PutLabelSetRequest, body.take())
    images: list[bytes] = []
    fields = fields_of(message) | {"labels": [*_labels(parts["labels"], parser, images)]}
    if weights := parts["weights"]:
        fields["weights"] = base64.b64encode(weights[-1]).decode()  # as in any message the last one counts
    # Not validated once more: a message has its types, and the check of the request refuses NaN.
    label_set = LabelSetFields.model_construct(**fields)
    return put_request(message.name, label_set, lambda position: images[int(position)])


def _labels(messages: list[bytes], parser: MessageParser, images: list[bytes]) -> Iterator[LabelFields]:
    """Each label; its example images are added to `images`, and in the label their positions stand for them."""
    messages.reverse()
    while messages:
        # Popped, so that no image is in memory twice.
        message, parts = parser.parse(clip_pb2.NewLabel, messages.pop())
        start = len(images)
        images += parts["examples"]
        positions = [*map(str, range(start, len(images)))]
        yield LabelFields.model_construct(**fields_of(message) | {"examples": positions})

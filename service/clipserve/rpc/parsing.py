"""Checks the limits of messages, and parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from clipserve.application.body import Body
from clipserve.application.limits import RequestLimits
from clipserve.application.shared import Question
from clipserve.rpc.message import Images, Walk, malformed

Message = TypeVar("Message", bound=ProtoMessage)

# Takes the body, and checks the request. Raises MalformedRequest, BodyTooLarge, TooMany: see `Walk`; and others.
MessageReader = Callable[[Body, Walk, RequestLimits], Question[Any, bytes]]

_CHOICE = ("model", "expect_fingerprint")


def message_reader(
    kind: type[Message], make: Callable[[Message, Images, RequestLimits], Question[Any, bytes]]
) -> MessageReader:
    """What reads messages of this kind: `make` gets the images separately."""
    image_fields = _image_fields(kind.DESCRIPTOR)

    def read(body: Body, walk: Walk, limits: RequestLimits) -> Question[Any, bytes]:
        images, rest = walk.images(body.take(), image_fields)
        return make(parsed(kind, rest), images, limits)

    return read


def parsed(kind: type[Message], data: bytes) -> Message:
    """Parse a message. Raises MalformedRequest: the bytes are not a message of this kind."""
    try:
        message: Message = kind.FromString(data)
    except DecodeError:
        raise malformed() from None
    return message


def choice(message: Any) -> dict[str, Any]:
    """The fields of `Choice` that a request has."""
    return given(message, *_CHOICE)


def given(message: Any, *names: str) -> dict[str, Any]:
    """The optional fields among `names` that the message has."""
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def _image_fields(descriptor: Any) -> Mapping[int, str]:
    """A message's fields of bytes: number -> name."""
    fields = descriptor.fields
    return {field.number: field.name for field in fields if field.type == field.TYPE_BYTES}

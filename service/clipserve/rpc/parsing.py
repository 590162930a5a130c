"""Checks the limits of messages, and parses them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from clipserve.application.body import Body
from clipserve.application.limits import RequestLimits
from clipserve.concurrency import SideThread
from clipserve.rpc.message import Images, Walk, malformed

Message = TypeVar("Message", bound=ProtoMessage)
Asked = TypeVar("Asked")

_CHOICE = ("model", "expect_fingerprint")


class Parsing:
    """Turns the bytes of messages into requests."""

    def __init__(self, side: SideThread, limits: RequestLimits, max_bytes: int) -> None:
        """`max_bytes`: of a message besides its images."""
        self._side = side
        self._limits = limits
        self._max_bytes = max_bytes

    async def read(
        self,
        body: Body,
        kind: type[Message],
        make: Callable[[Message, Images, RequestLimits], Asked],
    ) -> Asked:
        """Parse a message, and return the result of `make`, which gets the images separately.

        Raises:
            MalformedRequest, BodyTooLarge, TooMany: see `Walk`; and the errors of `make`.
        """

        def parse(body: Body, walk: Walk) -> Asked:
            images, rest = walk.images(body.take(), _image_fields(kind.DESCRIPTOR))
            return make(parsed(kind, rest), images, self._limits)

        return await self.read_by(body, parse)

    async def read_by(self, body: Body, parse: Callable[[Body, Walk], Asked]) -> Asked:
        """The result of `parse`, for messages that need another split."""
        return await body.parsed(self._side, lambda body: parse(body, Walk(self._max_bytes)))


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


@functools.cache
def _image_fields(descriptor: Any) -> Mapping[int, str]:
    """A message's fields of bytes: number -> name."""
    fields = descriptor.fields
    return {field.number: field.name for field in fields if field.type == field.TYPE_BYTES}

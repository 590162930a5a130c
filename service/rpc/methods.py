"""The methods: parse, call, render. What a call means is decided by `Inference`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from service.application.answers import is_short
from service.application.encodings import EmbeddingType
from service.application.inference import Inference
from service.application.limits import RequestLimits
from service.application.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
)
from service.application.template_sets import template_set, template_sets
from service.concurrency import SideThread
from service.errors import ClipError, InvalidInput
from service.rpc import rendering
from service.rpc.call import Work
from service.rpc.clipserve.v1 import clip_pb2
from service.rpc.message import Images, malformed, take_apart

Message = TypeVar("Message", bound=ProtoMessage)
Asked = TypeVar("Asked")

_SHORT = 4_096  # bytes: a walk of two milliseconds, in fields of the smallest size
_CHOICE = ("model", "expect_fingerprint")
_EMBEDDING_TYPES: Mapping[int, EmbeddingType] = {
    clip_pb2.EMBEDDING_TYPE_UNSPECIFIED: "float32",
    clip_pb2.EMBEDDING_TYPE_FLOAT32: "float32",
    clip_pb2.EMBEDDING_TYPE_FLOAT16: "float16",
    clip_pb2.EMBEDDING_TYPE_INT8: "int8",
    clip_pb2.EMBEDDING_TYPE_BINARY: "binary",
    clip_pb2.EMBEDDING_TYPE_UBINARY: "ubinary",
}


class Methods:
    """Each takes the bytes of a message, the one item of `unread`, and gives those of its answer."""

    def __init__(self, inference: Inference, side: SideThread, max_bytes: int) -> None:
        """`max_bytes`: of a message besides its images."""
        self._inference = inference
        self._side = side
        self._max_bytes = max_bytes

    def unary(self) -> Mapping[str, Work]:
        """Those of one message and one answer, by their names in clip.proto."""
        return {
            "Classify": self.classify,
            "Embed": self.embed,
            "Similarity": self.similarity,
            "Tokenize": self.tokenize,
            "ListModels": self.list_models,
            "ListTemplateSets": self.list_template_sets,
            "GetTemplateSet": self.get_template_set,
        }

    async def classify(self, unread: list[bytes]) -> bytes:
        asked = await self._read(unread, clip_pb2.ClassifyRequest, _to_classify)
        scored = await self._inference.classify(asked)
        return await self._side.call(rendering.classification, scored, short=is_short(scored))

    async def embed(self, unread: list[bytes]) -> bytes:
        asked, embedding_type = await self._read(unread, clip_pb2.EmbedRequest, _to_embed)
        embedded = await self._inference.embed(asked)
        return await self._side.call(rendering.embedding, embedded, embedding_type, short=is_short(embedded))

    async def similarity(self, unread: list[bytes]) -> bytes:
        asked = await self._read(unread, clip_pb2.SimilarityRequest, _to_compare)
        compared = await self._inference.similarity(asked)
        return await self._side.call(rendering.similarity, compared, short=is_short(compared))

    async def tokenize(self, unread: list[bytes]) -> bytes:
        asked = await self._read(unread, clip_pb2.TokenizeRequest, _to_tokenize)
        tokenized = await self._inference.tokenize(asked)
        return await self._side.call(rendering.tokenization, tokenized, short=is_short(tokenized))

    async def embed_item(self, unread: list[bytes]) -> bytes:
        """Of EmbedStream: one message and its answer, which is the item's own error if it has one."""
        embedding_type: EmbeddingType = "float32"
        try:
            asked, embedding_type = await self._read(unread, clip_pb2.EmbedStreamRequest, _to_embed_item)
            model = self._inference.find(asked)
            result = await self._inference.embed_item(asked)
        except ClipError as error:
            return rendering.embedded_item(None, error, embedding_type)
        return rendering.embedded_item(model, result, embedding_type)

    async def list_models(self, unread: list[bytes]) -> bytes:
        await self._read(unread, clip_pb2.ListModelsRequest, lambda *_: None)
        return rendering.models(await self._inference.models())

    async def list_template_sets(self, unread: list[bytes]) -> bytes:
        await self._read(unread, clip_pb2.ListTemplateSetsRequest, lambda *_: None)
        return rendering.listed_template_sets(template_sets())

    async def get_template_set(self, unread: list[bytes]) -> bytes:
        name = await self._read(unread, clip_pb2.GetTemplateSetRequest, lambda message, *_: message.name)
        return rendering.template_set(template_set(name))

    async def _read(
        self,
        unread: list[bytes],
        kind: type[Message],
        make: Callable[[Message, Images, RequestLimits], Asked],
    ) -> Asked:
        """What `make` makes of the message and its images, which are not in it any more.

        Raises:
            MalformedRequest, BodyTooLarge, TooMany: see `take_apart`, and what `make` raises.
        """
        return await self._side.call(self._parse, unread, kind, make, short=len(unread[0]) <= _SHORT)

    def _parse(
        self,
        unread: list[bytes],
        kind: type[Message],
        make: Callable[[Message, Images, RequestLimits], Asked],
    ) -> Asked:
        try:
            images, rest = take_apart(unread, _image_fields(kind.DESCRIPTOR), self._max_bytes)
            return make(_parsed(kind, rest), images, self._inference.limits)
        except ClipError as error:
            # What was refused is freed here, and not when the event loop comes to it.
            error.__context__ = None
            raise error.with_traceback(None) from None


# Limits are checked where the message is parsed, so that what is over one is freed there.


def _to_classify(message: clip_pb2.ClassifyRequest, images: Images, limits: RequestLimits) -> ClassifyRequest:
    asked = ClassifyRequest(
        images["images"],
        list(message.labels),
        list(message.templates),
        truncate=message.truncate,
        top_k=message.top_k if message.HasField("top_k") else None,
        **_choice(message),
    )
    asked.check(limits)
    return asked


def _to_embed(
    message: clip_pb2.EmbedRequest, images: Images, limits: RequestLimits
) -> tuple[EmbedRequest, EmbeddingType]:
    asked = EmbedRequest(images["images"], list(message.texts), message.truncate, **_choice(message))
    asked.check(limits)
    return asked, _embedding_type(message.embedding_type)


def _to_embed_item(
    message: clip_pb2.EmbedStreamRequest, images: Images, _: RequestLimits
) -> tuple[EmbedRequest, EmbeddingType]:
    texts = [message.text] if message.HasField("text") else []
    if len(images["image"]) + len(texts) != 1:
        raise InvalidInput("each message has one item: an image or a text.")
    asked = EmbedRequest(images["image"], texts, message.truncate, **_choice(message))
    return asked, _embedding_type(message.embedding_type)


def _to_compare(
    message: clip_pb2.SimilarityRequest, images: Images, limits: RequestLimits
) -> SimilarityRequest:
    asked = SimilarityRequest(
        images["images"],
        list(message.texts),
        images["to_images"],
        list(message.to_texts),
        message.truncate,
        **_choice(message),
    )
    asked.check(limits)
    return asked


def _to_tokenize(message: clip_pb2.TokenizeRequest, _: Images, limits: RequestLimits) -> TokenizeRequest:
    asked = TokenizeRequest(list(message.texts), **_choice(message))
    asked.check(limits)
    return asked


def _choice(message: Any) -> dict[str, Any]:
    """Of any request: the fields of `Choice` that it has."""
    return {name: getattr(message, name) for name in _CHOICE if message.HasField(name)}


def _embedding_type(number: int) -> EmbeddingType:
    if number not in _EMBEDDING_TYPES:
        raise InvalidInput(
            f"embedding_type is {number}; known are 1 to {max(_EMBEDDING_TYPES)}, and 0 for float32.",
            limit=max(_EMBEDDING_TYPES),
            actual=number,
        )
    return _EMBEDDING_TYPES[number]


def _parsed(kind: type[Message], rest: bytes) -> Message:
    try:
        message: Message = kind.FromString(rest)
    except DecodeError:
        raise malformed() from None
    return message


@functools.cache
def _image_fields(descriptor: Any) -> Mapping[int, str]:
    """A message's fields of bytes: number -> name."""
    fields = descriptor.fields
    return {field.number: field.name for field in fields if field.type == field.TYPE_BYTES}

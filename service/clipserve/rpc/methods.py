"""The methods: parse, call `Inference`, render."""

from __future__ import annotations

from collections.abc import Mapping

from clipserve.application.body import Body
from clipserve.application.encodings import EmbeddingType
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
)
from clipserve.application.shared import is_short
from clipserve.clip.template_sets import template_set
from clipserve.concurrency import SideThread
from clipserve.errors import ClipError, InvalidInput
from clipserve.rpc import enums, rendering
from clipserve.rpc.call import Work
from clipserve.rpc.message import Images
from clipserve.rpc.parsing import Parsing, choice, given
from clipserve.v1 import clip_pb2


class Methods:
    """Each method takes a message and returns the bytes of its answer."""

    def __init__(self, inference: Inference, side: SideThread, parsing: Parsing) -> None:
        self._inference = inference
        self._side = side
        self._parsing = parsing

    def unary(self) -> Mapping[str, Work]:
        """The methods with one message and one answer, by their names in clip.proto."""
        return {
            "Classify": self.classify,
            "Embed": self.embed,
            "Similarity": self.similarity,
            "Tokenize": self.tokenize,
            "ListModels": self.list_models,
            "ListTemplateSets": self.list_template_sets,
            "GetTemplateSet": self.get_template_set,
        }

    async def classify(self, body: Body) -> bytes:
        asked = await self._parsing.read(body, clip_pb2.ClassifyRequest, _to_classify)
        scored = await self._inference.classify(asked)
        return await self._side.call(rendering.classification, scored, short=is_short(scored))

    async def embed(self, body: Body) -> bytes:
        asked, embedding_type = await self._parsing.read(body, clip_pb2.EmbedRequest, _to_embed)
        embedded = await self._inference.embed(asked)
        return await self._side.call(rendering.embedding, embedded, embedding_type, short=is_short(embedded))

    async def similarity(self, body: Body) -> bytes:
        asked = await self._parsing.read(body, clip_pb2.SimilarityRequest, _to_compare)
        compared = await self._inference.similarity(asked)
        return await self._side.call(rendering.similarity, compared, short=is_short(compared))

    async def tokenize(self, body: Body) -> bytes:
        asked = await self._parsing.read(body, clip_pb2.TokenizeRequest, _to_tokenize)
        tokenized = await self._inference.tokenize(asked)
        return await self._side.call(rendering.tokenization, tokenized, short=is_short(tokenized))

    async def embed_item(self, body: Body) -> bytes:
        """Answer one message of EmbedStream. The answer has the item's error, if any."""
        embedding_type: EmbeddingType = "float32"
        try:
            asked, embedding_type = await self._parsing.read(
                body, clip_pb2.EmbedStreamRequest, _to_embed_item
            )
        except ClipError as error:
            return rendering.embedded_item(error, embedding_type)
        return rendering.embedded_item(await self._inference.embed_item(asked), embedding_type)

    async def list_models(self, body: Body) -> bytes:
        await self._parsing.read(body, clip_pb2.ListModelsRequest, lambda *_: None)
        return rendering.models(await self._inference.models())

    async def list_template_sets(self, body: Body) -> bytes:
        await self._parsing.read(body, clip_pb2.ListTemplateSetsRequest, lambda *_: None)
        return rendering.template_sets()

    async def get_template_set(self, body: Body) -> bytes:
        name = await self._parsing.read(
            body, clip_pb2.GetTemplateSetRequest, lambda message, *_: message.name
        )
        return rendering.template_set(template_set(name))


def _to_classify(message: clip_pb2.ClassifyRequest, images: Images, limits: RequestLimits) -> ClassifyRequest:
    return ClassifyRequest(
        images["images"],
        list(message.labels),
        list(message.templates),
        list(message.background),
        message.truncate,
        list(message.label_sets),
        scoring=enums.scoring(message.scoring),
        **given(message, "temperature", "threshold", "top_k"),
        **choice(message),
    ).check(limits)


def _to_embed(
    message: clip_pb2.EmbedRequest, images: Images, limits: RequestLimits
) -> tuple[EmbedRequest, EmbeddingType]:
    asked = EmbedRequest(images["images"], list(message.texts), message.truncate, **choice(message))
    return asked.check(limits), enums.embedding_type(message.embedding_type)


def _to_embed_item(
    message: clip_pb2.EmbedStreamRequest, images: Images, _: RequestLimits
) -> tuple[EmbedRequest, EmbeddingType]:
    texts = [message.text] if message.HasField("text") else []
    if len(images["image"]) + len(texts) != 1:
        raise InvalidInput("each message has one item: an image or a text.")
    asked = EmbedRequest(images["image"], texts, message.truncate, **choice(message))
    return asked, enums.embedding_type(message.embedding_type)


def _to_compare(
    message: clip_pb2.SimilarityRequest, images: Images, limits: RequestLimits
) -> SimilarityRequest:
    return SimilarityRequest(
        images["images"],
        list(message.texts),
        images["to_images"],
        list(message.to_texts),
        message.truncate,
        **choice(message),
    ).check(limits)


def _to_tokenize(message: clip_pb2.TokenizeRequest, _: Images, limits: RequestLimits) -> TokenizeRequest:
    return TokenizeRequest(list(message.texts), **choice(message)).check(limits)

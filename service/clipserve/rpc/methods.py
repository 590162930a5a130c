"""The methods: read a message into a `Question`, ask it, render the answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from clipserve.application.answers import Classification, Embedding, Similarities, Tokenization
from clipserve.application.body import Body
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
)
from clipserve.application.shared import Question, Shared, answered
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.errors import ClipError, InvalidInput
from clipserve.rpc import enums, rendering
from clipserve.rpc.call import Work
from clipserve.rpc.label_sets import read_put
from clipserve.rpc.message import Images, Walk
from clipserve.rpc.parsing import MessageReader, choice, given, message_reader
from clipserve.v1 import clip_pb2

T = TypeVar("T")


def asking(shared: Shared, max_bytes: int, read: MessageReader) -> Work:
    """A method with one message and one answer. `max_bytes`: of a message besides its images."""
    limits = shared.inference.limits
    return lambda body: answered(shared, body, lambda body: read(body, Walk(max_bytes), limits))


def embedding_items(shared: Shared, max_bytes: int) -> Work:
    """Answers one message of EmbedStream. The answer has the item's error, if any."""
    inference, read = shared.inference, message_reader(clip_pb2.EmbedStreamRequest, _embed_item)

    async def answer(body: Body) -> bytes:
        try:
            question = await body.parsed(
                shared.side, lambda body: read(body, Walk(max_bytes), inference.limits)
            )
        except ClipError as error:
            return rendering.embedded_item(error)
        return question.render(await question.ask(inference))

    return answer


def _classify(
    message: clip_pb2.ClassifyRequest, images: Images, limits: RequestLimits
) -> Question[Classification, bytes]:
    asked = ClassifyRequest(
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
    return Question(lambda of: of.classify(asked), rendering.classification)


def _embed(
    message: clip_pb2.EmbedRequest, images: Images, limits: RequestLimits
) -> Question[Embedding, bytes]:
    asked = EmbedRequest(images["images"], list(message.texts), message.truncate, **choice(message))
    asked.check(limits)
    rendered = partial(rendering.embedding, embedding_type=enums.embedding_type(message.embedding_type))
    return Question(lambda of: of.embed(asked), rendered)


def _embed_item(
    message: clip_pb2.EmbedStreamRequest, images: Images, _: RequestLimits
) -> Question[Embedding | ClipError, bytes]:
    texts = [message.text] if message.HasField("text") else []
    if len(images["image"]) + len(texts) != 1:
        raise InvalidInput("each message has one item: an image or a text.")
    asked = EmbedRequest(images["image"], texts, message.truncate, **choice(message))
    rendered = partial(rendering.embedded_item, embedding_type=enums.embedding_type(message.embedding_type))
    return Question(lambda of: of.embed_item(asked), rendered)


def _similarity(
    message: clip_pb2.SimilarityRequest, images: Images, limits: RequestLimits
) -> Question[Similarities, bytes]:
    asked = SimilarityRequest(
        images["images"],
        list(message.texts),
        images["to_images"],
        list(message.to_texts),
        message.truncate,
        **choice(message),
    ).check(limits)
    return Question(lambda of: of.similarity(asked), rendering.similarity)


def _tokenize(
    message: clip_pb2.TokenizeRequest, _: Images, limits: RequestLimits
) -> Question[Tokenization, bytes]:
    asked = TokenizeRequest(list(message.texts), **choice(message)).check(limits)
    return Question(lambda of: of.tokenize(asked), rendering.tokenization)


async def _at_once(answer: T) -> T:
    return answer


def _get_template_set(message: clip_pb2.GetTemplateSetRequest, *_: object) -> Question[Any, bytes]:
    name = message.name
    return Question(lambda _: _at_once(template_set(name)), rendering.template_set)


def _get_label_set(message: clip_pb2.GetLabelSetRequest, *_: object) -> Question[Any, bytes]:
    name, rendered = message.name, partial(rendering.label_set, clip_pb2.GetLabelSetResponse)
    return Question(lambda of: _at_once(of.label_sets.get(name)), rendered)


def _delete_label_set(message: clip_pb2.DeleteLabelSetRequest, *_: object) -> Question[None, bytes]:
    name = message.name
    return Question(lambda of: of.label_sets.delete(name), lambda _: b"")


_MODELS = Question(lambda of: of.models(), rendering.models)
_SETS = Question(lambda of: _at_once(of.label_sets.all()), rendering.label_sets)
_TEMPLATE_SETS = Question(lambda _: _at_once([*TEMPLATE_SETS.values()]), rendering.template_sets)

# Those with one message and one answer, by their names in clip.proto.
METHODS: Mapping[str, MessageReader] = {
    "Classify": message_reader(clip_pb2.ClassifyRequest, _classify),
    "Embed": message_reader(clip_pb2.EmbedRequest, _embed),
    "Similarity": message_reader(clip_pb2.SimilarityRequest, _similarity),
    "Tokenize": message_reader(clip_pb2.TokenizeRequest, _tokenize),
    "ListModels": message_reader(clip_pb2.ListModelsRequest, lambda *_: _MODELS),
    "ListTemplateSets": message_reader(clip_pb2.ListTemplateSetsRequest, lambda *_: _TEMPLATE_SETS),
    "GetTemplateSet": message_reader(clip_pb2.GetTemplateSetRequest, _get_template_set),
    "ListLabelSets": message_reader(clip_pb2.ListLabelSetsRequest, lambda *_: _SETS),
    "GetLabelSet": message_reader(clip_pb2.GetLabelSetRequest, _get_label_set),
    "PutLabelSet": read_put,
    "DeleteLabelSet": message_reader(clip_pb2.DeleteLabelSetRequest, _delete_label_set),
}

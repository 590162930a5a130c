"""Renders answers as serialized messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from clipserve.api.requests import EmbeddingType
from clipserve.application.answers import Classification, Embedding, ModelState, Similarities, Tokenization
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import ENCODERS
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.ranking import ScoredLabel
from clipserve.application.shown import heading, label_set_fields, model_fields, template_set_fields
from clipserve.clip.template_sets import TemplateSet
from clipserve.errors import ClipError
from clipserve.rpc.requests import SCORINGS, STATES
from clipserve.v1 import clip_pb2

WithLabelSet = clip_pb2.GetLabelSetResponse | clip_pb2.PutLabelSetResponse


def classification(answer: Classification) -> bytes:
    message = clip_pb2.ClassifyResponse(
        **heading(answer),
        truncated_labels=answer.truncated_labels,
        warnings=answer.warnings,
        label_sets=map(vars, answer.label_sets),
    )
    for result in answer.results:
        shown = message.results.add()
        if isinstance(result, ClipError):
            shown.error.CopyFrom(_item_error(result))
        elif len(answer.label_sets) > 1:
            for label_set, labels in zip(answer.label_sets, result, strict=True):
                _add_labels(shown.label_sets.add(label_set=label_set.name), labels)
        else:
            _add_labels(shown, result[0])
    return as_bytes(message)


def embedding(answer: Embedding, embedding_type: EmbeddingType) -> bytes:
    message = clip_pb2.EmbedResponse(**heading(answer))
    for result in (*answer.images, *answer.texts):
        _fill(message.results.add(), result, embedding_type)
    return as_bytes(message)


def embedded_item(answer: Embedding | ClipError, embedding_type: EmbeddingType = "float32") -> bytes:
    """The answer of one item in a stream."""
    if isinstance(answer, ClipError):
        message = clip_pb2.EmbedStreamResponse()
        _fill(message.result, answer, embedding_type)
        message.result.error.ClearField("index")  # the order of the answers gives it
        return as_bytes(message)
    message = clip_pb2.EmbedStreamResponse(**heading(answer))
    _fill(message.result, [*answer.images, *answer.texts][0], embedding_type)
    return as_bytes(message)


def similarity(answer: Similarities) -> bytes:
    results = [
        clip_pb2.SimilarityResult(error=_item_error(result))
        if isinstance(result, ClipError)
        else clip_pb2.SimilarityResult(cosine=result.cosine.tolist(), logit=result.logit.tolist())
        for result in answer.results
    ]
    return as_bytes(clip_pb2.SimilarityResponse(**heading(answer), results=results))


def tokenization(answer: Tokenization) -> bytes:
    fields = vars(answer) | {"results": [vars(result) for result in answer.results]}
    return as_bytes(clip_pb2.TokenizeResponse(**fields))


def models(states: Sequence[ModelState]) -> bytes:
    return as_bytes(clip_pb2.ListModelsResponse(models=map(model_fields, states)))


def label_sets(states: Sequence[LabelSet]) -> bytes:
    fields = [_label_set(state, whole=False) for state in states]
    return as_bytes(clip_pb2.ListLabelSetsResponse(label_sets=fields))


def label_set(state: LabelSet, kind: type[WithLabelSet]) -> bytes:
    """A label set. `kind`: the message of the answer."""
    return as_bytes(kind(label_set=_label_set(state, whole=True)))


def _label_set(state: LabelSet, *, whole: bool) -> dict[str, Any]:
    fields = label_set_fields(state, whole=whole)
    fields["state"] = STATES[state.state]
    if "scoring" in fields:
        fields["scoring"] = SCORINGS[fields["scoring"]]
    return fields


def template_sets(found: Sequence[TemplateSet]) -> bytes:
    fields = [template_set_fields(template_set, whole=False) for template_set in found]
    return as_bytes(clip_pb2.ListTemplateSetsResponse(template_sets=fields))


def template_set(found: TemplateSet) -> bytes:
    return as_bytes(clip_pb2.GetTemplateSetResponse(template_set=template_set_fields(found, whole=True)))


def _add_labels(
    shown: clip_pb2.ClassifyResult | clip_pb2.LabelSetResult, labels: Sequence[ScoredLabel]
) -> None:
    for label in labels:
        shown.labels.add(**vars(label))


def _fill(
    shown: clip_pb2.EmbedResult, result: VectorOrError | EncodedText, embedding_type: EmbeddingType
) -> None:
    """Write into the message that is sent: one made beside it would be copied there."""
    if isinstance(result, ClipError):
        shown.error.CopyFrom(_item_error(result))
        return
    if isinstance(result, EncodedText):
        shown.tokens, shown.truncated = result.tokens, result.truncated
        result = result.vector
    encoded = ENCODERS[embedding_type](result)
    shown.embedding = encoded.values.tobytes()
    if encoded.scale is not None:
        shown.scale = encoded.scale


def _item_error(error: ClipError) -> clip_pb2.ItemError:
    figures: dict[str, Any] = dict(error.figures)
    return clip_pb2.ItemError(code=error.code, detail=error.detail, **figures)


def as_bytes(message: Message) -> bytes:
    """The serialized message."""
    data: bytes = message.SerializeToString()
    return data

"""Renders answers as serialized messages, whose fields have the same names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from google.protobuf.message import Message

from clipserve.api.answers import Answer, Embeddings, ImageVector, ItemSimilarities, shown
from clipserve.api.sets import LabelSetSummary
from clipserve.api.states import ModelInfo
from clipserve.application import answers
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.ranking import RankedLabels
from clipserve.clip.template_sets import TemplateSet
from clipserve.errors import ClipError
from clipserve.rpc.requests import SCORINGS, STATES
from clipserve.v1 import clip_pb2

WithLabelSet = clip_pb2.GetLabelSetResponse | clip_pb2.PutLabelSetResponse


def answered(answer: Any, kind: type[Message]) -> bytes:
    """An answer with results. They are written into the message that is sent: others would be copied there."""
    fields = shown(answer)
    results = fields.pop("results")
    message: Any = kind(**{name: _plain(value) for name, value in fields.items()})
    for result in results:
        message.results.add(**_plain(result))
    return as_bytes(message)


def embedded_item(answer: Embeddings | ClipError) -> bytes:
    """The answer of one item in a stream."""
    if isinstance(answer, ClipError):  # the order of the answers gives its index
        return as_bytes(clip_pb2.EmbedStreamResponse(result=_plain(answer.at(None))))
    (result,) = answer.results
    heading = {"model": answer.model, "fingerprint": answer.fingerprint}
    return as_bytes(clip_pb2.EmbedStreamResponse(**heading, result=_plain(result)))


def models(listed: Sequence[ModelInfo]) -> bytes:
    fields = [{name: value for name, value in vars(model).items() if name != "object"} for model in listed]
    return as_bytes(clip_pb2.ListModelsResponse(models=fields))


def label_sets(states: Sequence[LabelSet]) -> bytes:
    fields = [_plain(answers.listed_label_set(state)) for state in states]
    return as_bytes(clip_pb2.ListLabelSetsResponse(label_sets=fields))


def label_set(state: LabelSet, kind: type[WithLabelSet]) -> bytes:
    """A label set. `kind`: the message of the answer."""
    return as_bytes(kind(label_set=_plain(answers.label_set(state))))


def template_sets(found: Sequence[TemplateSet]) -> bytes:
    fields = [vars(answers.listed_template_set(each)) for each in found]
    return as_bytes(clip_pb2.ListTemplateSetsResponse(template_sets=fields))


def template_set(found: TemplateSet) -> bytes:
    return as_bytes(clip_pb2.GetTemplateSetResponse(template_set=vars(answers.template_set(found))))


@singledispatch
def _plain(value: object) -> Any:
    """What the constructor of a message takes for a part of an answer."""
    return value


@_plain.register
def _(answer: Answer) -> dict[str, Any]:
    return {name: _plain(value) for name, value in shown(answer).items()}


@_plain.register(list)
@_plain.register(tuple)
def _(values: Sequence[Any]) -> Any:
    return [*map(_plain, values)] if values and isinstance(values[0], Answer) else values


@_plain.register
def _(labels: RankedLabels) -> list[dict[str, Any]]:
    return labels.fields()


@_plain.register
def _(vector: ImageVector) -> dict[str, Any]:
    return shown(vector) | {"embedding": vector.embedding.tobytes()}


@_plain.register
def _(compared: ItemSimilarities) -> dict[str, Any]:
    return {"cosine": compared.cosine.tolist(), "logit": compared.logit.tolist()}


@_plain.register
def _(error: ClipError) -> dict[str, Any]:
    return {"error": {"code": error.code, "detail": error.detail, **error.figures}}


@_plain.register
def _(summary: LabelSetSummary) -> dict[str, Any]:
    fields = {name: _plain(value) for name, value in shown(summary).items()}
    words = {"state": STATES, "scoring": SCORINGS}
    return {name: words[name][value] if name in words else value for name, value in fields.items()}


def as_bytes(message: Message) -> bytes:
    """The serialized message."""
    data: bytes = message.SerializeToString()
    return data

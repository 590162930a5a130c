"""Renders answers as serialized messages, whose fields have the same names."""

from __future__ import annotations

from collections.abc import Sequence
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
_NUMBERS = {"state": STATES, "scoring": SCORINGS}  # of the words in these fields of a label set


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


def _plain(value: Any) -> Any:
    """What the constructor of a message takes for a part of an answer."""
    match value:
        case list() | tuple():
            return [*map(_plain, value)] if value and isinstance(value[0], Answer) else value
        case RankedLabels():
            return value.fields()
        case ImageVector():
            return shown(value) | {"embedding": value.embedding.tobytes()}
        case ItemSimilarities():
            return {"cosine": value.cosine.tolist(), "logit": value.logit.tolist()}
        case LabelSetSummary():
            fields = shown(value)
            numbers = {name: known[fields[name]] for name, known in _NUMBERS.items() if name in fields}
            return {name: _plain(each) for name, each in fields.items()} | numbers
        case Answer():
            return {name: _plain(each) for name, each in shown(value).items()}
        case ClipError():
            return {"error": {"code": value.code, "detail": value.detail, **value.figures}}
    return value


def as_bytes(message: Message) -> bytes:
    """The serialized message."""
    return bytes(message.SerializeToString())

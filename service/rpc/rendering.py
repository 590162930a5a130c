"""Answers as messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from service.application.answers import Classification, Embedding, ModelState, Similarities, Tokenization
from service.application.encoder import EncodedText, VectorOrError
from service.application.encodings import EmbeddingType, encode_vector
from service.clip.template_sets import TemplateSet
from service.errors import ClipError
from service.rpc.clipserve.v1 import clip_pb2


def classification(answer: Classification) -> bytes:
    message = clip_pb2.ClassifyResponse(
        model=answer.model, fingerprint=answer.fingerprint, truncated_labels=answer.truncated_labels
    )
    for result in answer.results:
        shown = message.results.add()
        if isinstance(result, ClipError):
            shown.error.CopyFrom(_item_error(result))
            continue
        for each in result[0]:
            shown.labels.add(label=each.label, score=each.score, cosine=each.cosine, logit=each.logit)
    return _bytes(message)


def embedding(answer: Embedding, embedding_type: EmbeddingType) -> bytes:
    results = [_embed_result(result, embedding_type) for result in (*answer.images, *answer.texts)]
    return _bytes(clip_pb2.EmbedResponse(model=answer.model, fingerprint=answer.fingerprint, results=results))


def embedded_item(
    model: ModelState | None, result: VectorOrError | EncodedText, embedding_type: EmbeddingType
) -> bytes:
    """Of one item in a stream; `model`: None where it is not known."""
    answer = clip_pb2.EmbedStreamResponse()
    if model and not isinstance(result, ClipError):
        answer.model, answer.fingerprint = model.manifest.name, model.fingerprint
    answer.result.CopyFrom(_embed_result(result, embedding_type))
    if isinstance(result, ClipError):
        answer.result.error.ClearField("index")  # the order of the answers tells it
    return _bytes(answer)


def similarity(answer: Similarities) -> bytes:
    results = [
        clip_pb2.SimilarityResult(error=_item_error(result))
        if isinstance(result, ClipError)
        else clip_pb2.SimilarityResult(cosine=result.cosine.tolist(), logit=result.logit.tolist())
        for result in answer.results
    ]
    return _bytes(
        clip_pb2.SimilarityResponse(model=answer.model, fingerprint=answer.fingerprint, results=results)
    )


def tokenization(answer: Tokenization) -> bytes:
    results = [
        clip_pb2.TokenizeResult(
            ids=result.ids, pieces=result.pieces, tokens=result.tokens, truncated=result.truncated
        )
        for result in answer.results
    ]
    return _bytes(
        clip_pb2.TokenizeResponse(
            model=answer.model,
            fingerprint=answer.fingerprint,
            context_length=answer.context_length,
            results=results,
        )
    )


def models(states: Sequence[ModelState]) -> bytes:
    return _bytes(clip_pb2.ListModelsResponse(models=map(_model, states)))


def listed_template_sets(sets: Sequence[TemplateSet]) -> bytes:
    """Without the class names."""
    return _bytes(clip_pb2.ListTemplateSetsResponse(template_sets=map(_template_set, sets)))


def template_set(found: TemplateSet) -> bytes:
    shown = _template_set(found)
    shown.class_names.extend(found.class_names)
    return _bytes(clip_pb2.GetTemplateSetResponse(template_set=shown))


def _template_set(found: TemplateSet) -> clip_pb2.TemplateSet:
    return clip_pb2.TemplateSet(
        name=found.name, templates=found.templates, classes=len(found.class_names), source=found.source
    )


def _embed_result(result: VectorOrError | EncodedText, embedding_type: EmbeddingType) -> clip_pb2.EmbedResult:
    if isinstance(result, ClipError):
        return clip_pb2.EmbedResult(error=_item_error(result))
    if isinstance(result, EncodedText):
        shown = _embed_result(result.vector, embedding_type)
        shown.tokens, shown.truncated = result.tokens, result.truncated
        return shown
    encoded = encode_vector(result, embedding_type)
    return clip_pb2.EmbedResult(embedding=encoded.values.tobytes(), scale=encoded.scale)


def _item_error(error: ClipError) -> clip_pb2.ItemError:
    return clip_pb2.ItemError(
        code=error.code, detail=error.detail, limit=error.limit, actual=error.actual, index=error.index
    )


def _model(state: ModelState) -> clip_pb2.ModelInfo:
    manifest = state.manifest
    return clip_pb2.ModelInfo(
        id=manifest.name,
        ready=state.ready,
        fingerprint=state.fingerprint,
        embed_dim=manifest.embed_dim,
        image_size=manifest.image.size,
        context_length=manifest.text.context_length,
        scoring=manifest.scoring.function,
        logit_scale=manifest.scoring.logit_scale,
        logit_bias=manifest.scoring.logit_bias,
        prompt_templates=manifest.prompt_templates,
        precision=manifest.precision,
        checkpoint=manifest.source.checkpoint,
        licence=manifest.source.licence,
        random_weights=manifest.source.random_weights,
    )


def _bytes(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data

"""Answers as messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from clipserve.application.answers import Classification, Embedding, ModelState, Similarities, Tokenization
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import EmbeddingType, encode_vector
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.ranking import IdentifiedLabel, ScoredLabel
from clipserve.clip.few_shot import LeaveOneOut
from clipserve.clip.template_sets import TemplateSet
from clipserve.errors import ClipError
from clipserve.rpc import enums
from clipserve.v1 import clip_pb2

WithLabelSet = clip_pb2.GetLabelSetResponse | clip_pb2.PutLabelSetResponse


def classification(answer: Classification) -> bytes:
    message = clip_pb2.ClassifyResponse(
        model=answer.model,
        fingerprint=answer.fingerprint,
        truncated_labels=answer.truncated_labels,
        warnings=answer.warnings,
    )
    for each in answer.label_sets:
        message.label_sets.add(name=each.name, version=each.version)
    for result in answer.results:
        shown = message.results.add()
        if isinstance(result, ClipError):
            shown.error.CopyFrom(_item_error(result))
        elif len(answer.label_sets) > 1:
            for each, labels in zip(answer.label_sets, result, strict=True):
                _add_labels(shown.label_sets.add(label_set=each.name), labels)
        else:
            _add_labels(shown, result[0])
    return as_bytes(message)


def embedding(answer: Embedding, embedding_type: EmbeddingType) -> bytes:
    results = [_embed_result(result, embedding_type) for result in (*answer.images, *answer.texts)]
    return as_bytes(
        clip_pb2.EmbedResponse(model=answer.model, fingerprint=answer.fingerprint, results=results)
    )


def embedded_item(answer: Embedding | ClipError, embedding_type: EmbeddingType) -> bytes:
    """Of one item in a stream."""
    if isinstance(answer, ClipError):
        message = clip_pb2.EmbedStreamResponse(result=_embed_result(answer, embedding_type))
        message.result.error.ClearField("index")  # the order of the answers tells it
        return as_bytes(message)
    shown = _embed_result([*answer.images, *answer.texts][0], embedding_type)
    return as_bytes(
        clip_pb2.EmbedStreamResponse(model=answer.model, fingerprint=answer.fingerprint, result=shown)
    )


def similarity(answer: Similarities) -> bytes:
    results = [
        clip_pb2.SimilarityResult(error=_item_error(result))
        if isinstance(result, ClipError)
        else clip_pb2.SimilarityResult(cosine=result.cosine.tolist(), logit=result.logit.tolist())
        for result in answer.results
    ]
    return as_bytes(
        clip_pb2.SimilarityResponse(model=answer.model, fingerprint=answer.fingerprint, results=results)
    )


def tokenization(answer: Tokenization) -> bytes:
    results = [
        clip_pb2.TokenizeResult(
            ids=result.ids, pieces=result.pieces, tokens=result.tokens, truncated=result.truncated
        )
        for result in answer.results
    ]
    return as_bytes(
        clip_pb2.TokenizeResponse(
            model=answer.model,
            fingerprint=answer.fingerprint,
            context_length=answer.context_length,
            results=results,
        )
    )


def models(states: Sequence[ModelState]) -> bytes:
    return as_bytes(clip_pb2.ListModelsResponse(models=map(_model, states)))


def label_sets(states: Sequence[LabelSet]) -> bytes:
    """In short."""
    return as_bytes(clip_pb2.ListLabelSetsResponse(label_sets=map(_label_set, states)))


def label_set(kind: type[WithLabelSet], state: LabelSet) -> bytes:
    """All of it. `kind`: of the answer."""
    answer = kind(label_set=_label_set(state))
    _add_definition(answer.label_set, state.definition)
    answer.label_set.truncated_labels.extend(state.truncated_labels)
    answer.label_set.warnings.extend(state.warnings)
    if state.loo:
        answer.label_set.loo.CopyFrom(_loo(state.loo, state.definition.names))
    return as_bytes(answer)


def _add_labels(
    shown: clip_pb2.ClassifyResult | clip_pb2.LabelSetResult, labels: Sequence[ScoredLabel]
) -> None:
    for each in labels:
        added = shown.labels.add(label=each.label, score=each.score, cosine=each.cosine, logit=each.logit)
        if isinstance(each, IdentifiedLabel):
            added.id = each.id


def listed_template_sets(sets: Sequence[TemplateSet]) -> bytes:
    """Without the class names."""
    return as_bytes(clip_pb2.ListTemplateSetsResponse(template_sets=map(_template_set, sets)))


def template_set(found: TemplateSet) -> bytes:
    shown = _template_set(found)
    shown.class_names.extend(found.class_names)
    return as_bytes(clip_pb2.GetTemplateSetResponse(template_set=shown))


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


def _label_set(state: LabelSet) -> clip_pb2.LabelSet:
    return clip_pb2.LabelSet(
        name=state.name,
        version=state.version,
        state=enums.STATES[state.state],
        served_version=state.served_version,
        model=state.definition.model,
        fingerprint=state.fingerprint,
        label_count=len(state.definition.labels),
        prompts=state.prompts,
        prompts_done=state.prompts_done,
        read_only=state.read_only,
        error=state.error,
    )


def _add_definition(shown: clip_pb2.LabelSet, definition: Definition) -> None:
    for each in definition.labels:
        shown.labels.add(
            label=each.label,
            id=each.id,
            prompts=each.prompts,
            examples=each.examples,
            threshold=each.threshold,
        )
    options = clip_pb2.LabelSet(
        templates=definition.templates,
        background=definition.background,
        truncate=definition.truncate,
        example_weight=definition.example_weight,
        scoring=enums.SCORINGS[definition.scoring],
        temperature=definition.temperature,
        threshold=definition.threshold,
    )
    shown.MergeFrom(options)


def _loo(loo: LeaveOneOut, names: Sequence[str]) -> clip_pb2.LeaveOneOut:
    return clip_pb2.LeaveOneOut(
        accuracy=loo.accuracy,
        examples=loo.examples,
        misread=[
            clip_pb2.MisreadExample(
                label=names[each.label], example=each.example, taken_for=names[each.taken_for]
            )
            for each in loo.misread
        ],
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


def as_bytes(message: Message) -> bytes:
    """On the wire."""
    data: bytes = message.SerializeToString()
    return data

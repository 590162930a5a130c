"""Answers as JSON or as a NumPy file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from clipserve.application.answers import (
    Classification,
    Embedding,
    LabelSetVersion,
    ModelState,
    Similarities,
    Similarity,
    Tokenization,
)
from clipserve.application.encodings import EmbeddingType, encode_vector
from clipserve.application.ranking import LabelLists
from clipserve.clip.template_sets import TemplateSet
from clipserve.errors import ClipError
from clipserve.rest.errors import fields

NPY = "application/x-npy"


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; NumPy arrays become lists."""
    return Response(
        orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json"
    )


def classification_json(answer: Classification) -> Response:
    body = _heading(answer)
    if answer.label_sets:
        body["label_sets"] = answer.label_sets
    body["results"] = [_labels(result, answer.label_sets) for result in answer.results]
    if answer.truncated_labels:
        body["truncated_labels"] = answer.truncated_labels
    if answer.warnings:
        body["warnings"] = answer.warnings
    return json_response(body)


def embedding_json(
    answer: Embedding, encoding_format: str, embedding_type: EmbeddingType = "float32"
) -> Response:
    results: list[dict[str, Any]] = [
        {"error": fields(vector)}
        if isinstance(vector, ClipError)
        else vector_fields(vector, encoding_format, embedding_type)
        for vector in answer.images
    ]
    for text in answer.texts:
        shown = vector_fields(text.vector, encoding_format, embedding_type)
        results.append(shown | {"tokens": text.tokens, "truncated": text.truncated})
    return json_response(_heading(answer) | {"results": results})


def npy_array(answer: Embedding, embedding_type: EmbeddingType = "float32") -> Response:
    """One array [N, D], or [N, D / 8] of bits, in NumPy's file format, images first. `answer` holds no errors."""
    vectors = [vector for vector in answer.images if not isinstance(vector, ClipError)]
    vectors.extend(text.vector for text in answer.texts)
    file = io.BytesIO()
    rows = [encode_vector(vector, embedding_type).values for vector in vectors]
    np.save(file, np.stack(rows), allow_pickle=False)
    headers = {"X-Model-Fingerprint": answer.fingerprint}
    return Response(file.getvalue(), 200, headers, NPY)


def similarity_json(answer: Similarities) -> Response:
    results = [
        {"cosine": result.cosine, "logit": result.logit}
        if isinstance(result, Similarity)
        else {"error": fields(result)}
        for result in answer.results
    ]
    return json_response(_heading(answer) | {"results": results})


def tokenization_json(answer: Tokenization) -> Response:
    body = {"context_length": answer.context_length, "results": answer.results}
    return json_response(_heading(answer) | body)


def models_json(states: Sequence[ModelState]) -> Response:
    return json_response({"object": "list", "data": [_model(state) for state in states]})


def template_sets_json(sets: Sequence[TemplateSet]) -> Response:
    """Without the class names, which are five times the rest."""
    return json_response({"template_sets": [_template_set(each) for each in sets]})


def template_set_json(found: TemplateSet) -> Response:
    return json_response(_template_set(found) | {"class_names": found.class_names})


def _template_set(found: TemplateSet) -> dict[str, Any]:
    return {
        "name": found.name,
        "templates": found.templates,
        "classes": len(found.class_names),
        "source": found.source,
    }


def _labels(result: LabelLists | ClipError, label_sets: Sequence[LabelSetVersion]) -> Any:
    """One list of labels, or one for each of several label sets."""
    if isinstance(result, ClipError):
        return {"error": fields(result)}
    lists: Any = [{"labels": list(labels)} for labels in result]
    if len(label_sets) > 1:
        named = zip(label_sets, lists, strict=True)
        lists = [{"label_sets": [{"label_set": each.name} | labels for each, labels in named]}]
    return orjson.Fragment(orjson.dumps(lists[0]))  # as text it takes a third of the memory


def vector_fields(
    vector: npt.NDArray[np.float32], encoding_format: str, embedding_type: EmbeddingType
) -> dict[str, Any]:
    """A vector, [D], as fields of a JSON object: `embedding`, and `scale` where there is one."""
    encoded = encode_vector(vector, embedding_type)
    values: Any = encoded.values
    if encoding_format == "base64":
        values = base64.b64encode(values.tobytes()).decode()
    elif values.dtype == np.float16:  # not one of the types that the JSON library knows
        values = values.astype(np.float32)
    scale = {} if encoded.scale is None else {"scale": encoded.scale}
    return {"embedding": values} | scale


def _heading(answer: Classification | Embedding | Similarities | Tokenization) -> dict[str, Any]:
    return {"model": answer.model, "fingerprint": answer.fingerprint}


def _model(state: ModelState) -> dict[str, Any]:
    manifest = state.manifest
    return {
        "id": manifest.name,
        "object": "model",
        "ready": state.ready,
        "fingerprint": state.fingerprint,
        "embed_dim": manifest.embed_dim,
        "image_size": manifest.image.size,
        "context_length": manifest.text.context_length,
        "scoring": manifest.scoring.function,
        "logit_scale": manifest.scoring.logit_scale,
        "logit_bias": manifest.scoring.logit_bias,
        "prompt_templates": manifest.prompt_templates,
        "precision": manifest.precision,
        "checkpoint": manifest.source.checkpoint,
        "licence": manifest.source.licence,
        "random_weights": manifest.source.random_weights,
    }

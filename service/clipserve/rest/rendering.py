"""Answers as JSON or as a NumPy file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from clipserve.api.requests import EmbeddingType, VectorOptions
from clipserve.application.answers import (
    Classification,
    Embedding,
    LabelSetVersion,
    ModelState,
    Similarities,
    Similarity,
    Tokenization,
)
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import ENCODERS
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.ranking import LabelLists
from clipserve.application.shown import heading, label_set_fields, model_fields, template_set_fields
from clipserve.clip.template_sets import TEMPLATE_SETS, TemplateSet
from clipserve.errors import ClipError
from clipserve.rest.errors import fields

NPY = "application/x-npy"


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; NumPy arrays become lists."""
    return Response(
        orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, "application/json"
    )


def classification_json(answer: Classification) -> Response:
    body = heading(answer)
    if answer.label_sets:
        body["label_sets"] = answer.label_sets
    body["results"] = [_labels(result, answer.label_sets) for result in answer.results]
    if answer.truncated_labels:
        body["truncated_labels"] = answer.truncated_labels
    if answer.warnings:
        body["warnings"] = answer.warnings
    return json_response(body)


def embedding_json(answer: Embedding, options: VectorOptions) -> Response:
    results = [result_fields(item, options) for item in (*answer.images, *answer.texts)]
    return json_response(heading(answer) | {"results": results})


def npy_array(answer: Embedding, options: VectorOptions) -> Response:
    """One array [N, D], or [N, D / 8] of bits, in NumPy's file format, images first. `answer` holds no errors."""
    vectors = [vector for vector in answer.images if not isinstance(vector, ClipError)]
    vectors.extend(text.vector for text in answer.texts)
    file = io.BytesIO()
    rows = [ENCODERS[options.embedding_type](vector).values for vector in vectors]
    np.save(file, np.stack(rows), allow_pickle=False)
    headers = {"X-Model-Fingerprint": answer.fingerprint}
    return Response(file.getvalue(), 200, headers, NPY)


class VectorForm(NamedTuple):
    """A form of the answer to /embed. `all_or_nothing`: it has no place for the error of one item."""

    media_type: str
    render: Callable[[Embedding, VectorOptions], Response]
    all_or_nothing: bool


_VECTOR_FORMS = [
    VectorForm(NPY, npy_array, all_or_nothing=True),
    VectorForm("application/json", embedding_json, all_or_nothing=False),  # the last one is the default
]


def vector_form(accept: str) -> VectorForm:
    """The form that the header Accept asks for."""
    for form in _VECTOR_FORMS:
        if form.media_type in accept:
            return form
    return _VECTOR_FORMS[-1]


def similarity_json(answer: Similarities) -> Response:
    results = [
        {"cosine": result.cosine, "logit": result.logit}
        if isinstance(result, Similarity)
        else {"error": fields(result)}
        for result in answer.results
    ]
    return json_response(heading(answer) | {"results": results})


def tokenization_json(answer: Tokenization) -> Response:
    body = {"context_length": answer.context_length, "results": answer.results}
    return json_response(heading(answer) | body)


def models_json(states: Sequence[ModelState]) -> Response:
    data = [{"id": state.manifest.name, "object": "model"} | model_fields(state) for state in states]
    return json_response({"object": "list", "data": data})


def template_sets_json() -> Response:
    sets = [template_set_fields(found, whole=False) for found in TEMPLATE_SETS.values()]
    return json_response({"template_sets": sets})


def template_set_json(found: TemplateSet) -> Response:
    return json_response(template_set_fields(found, whole=True))


def label_set_list_json(states: Sequence[LabelSet]) -> Response:
    return json_response({"label_sets": [label_set_fields(state, whole=False) for state in states]})


def label_set_json(state: LabelSet) -> Response:
    return json_response(label_set_fields(state, whole=True))


def put_json(state: LabelSet) -> Response:
    """200 if it is built, else 202."""
    if state.state == "ready":
        return label_set_json(state)
    headers = {"Retry-After": str(math.ceil(state.retry_after))}
    return json_response(label_set_fields(state, whole=True), HTTPStatus.ACCEPTED, headers)


def _labels(result: LabelLists | ClipError, label_sets: Sequence[LabelSetVersion]) -> Any:
    """One list of labels, or one for each of several label sets."""
    if isinstance(result, ClipError):
        return {"error": fields(result)}
    lists: Any = [{"labels": list(labels)} for labels in result]
    if len(label_sets) > 1:
        named = zip(label_sets, lists, strict=True)
        lists = [{"label_sets": [{"label_set": each.name} | labels for each, labels in named]}]
    return orjson.Fragment(orjson.dumps(lists[0]))  # as JSON it takes a third of the memory


def result_fields(result: VectorOrError | EncodedText, options: VectorOptions) -> dict[str, Any]:
    """What is told of one item: its vector, or its error."""
    if isinstance(result, ClipError):
        return {"error": fields(result)}
    if isinstance(result, EncodedText):
        shown = vector_fields(result.vector, options.encoding_format, options.embedding_type)
        return shown | {"tokens": result.tokens, "truncated": result.truncated}
    return vector_fields(result, options.encoding_format, options.embedding_type)


def vector_fields(
    vector: npt.NDArray[np.float32], encoding_format: str, embedding_type: EmbeddingType
) -> dict[str, Any]:
    """A vector, [D], as fields of a JSON object: `embedding`, and `scale` where there is one."""
    encoded = ENCODERS[embedding_type](vector)
    values: Any = encoded.values
    if encoding_format == "base64":
        values = base64.b64encode(values.tobytes()).decode()
    elif values.dtype == np.float16:  # the JSON library does not know this type
        values = values.astype(np.float32)
    scale = {} if encoded.scale is None else {"scale": encoded.scale}
    return {"embedding": values} | scale

"""Answers as JSON or as a NumPy file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from service.application.requests import Classification, Embedding, ModelState, ScoredLabel
from service.errors import ClipError
from service.rest.errors import fields

NPY = "application/x-npy"


# Results whose rendering takes half a millisecond at most.
_SHORT_LABELS = 256
_SHORT_VECTORS = 32


def is_short(answer: Classification | Embedding) -> bool:
    """Whether it is rendered faster than a thread is woken, or nearly so."""
    if isinstance(answer, Embedding):
        return len(answer.images) + len(answer.texts) <= _SHORT_VECTORS
    return sum(len(result) for result in answer.results if not isinstance(result, ClipError)) <= _SHORT_LABELS


def json_response(body: Any, status: int = 200) -> Response:
    """JSON; NumPy arrays become lists."""
    return Response(
        orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json"
    )


def classification_json(answer: Classification) -> Response:
    body = _heading(answer) | {"results": [_labels(result) for result in answer.results]}
    if answer.truncated_labels:
        body["truncated_labels"] = answer.truncated_labels
    return json_response(body)


def embedding_json(answer: Embedding, encoding_format: str) -> Response:
    results: list[dict[str, Any]] = [
        {"error": fields(vector)}
        if isinstance(vector, ClipError)
        else {"embedding": _encoded(vector, encoding_format)}
        for vector in answer.images
    ]
    for text in answer.texts:
        vector = _encoded(text.vector, encoding_format)
        results.append({"embedding": vector, "tokens": text.tokens, "truncated": text.truncated})
    return json_response(_heading(answer) | {"results": results})


def npy_array(answer: Embedding) -> Response:
    """One float32 array [N, D] in NumPy's file format, images first. `answer` holds no errors."""
    vectors = [vector for vector in answer.images if not isinstance(vector, ClipError)]
    vectors.extend(text.vector for text in answer.texts)
    file = io.BytesIO()
    np.save(file, np.stack(vectors).astype("<f4"), allow_pickle=False)
    headers = {"X-Model-Fingerprint": answer.fingerprint}
    return Response(file.getvalue(), 200, headers, NPY)


def models_json(states: Sequence[ModelState]) -> Response:
    return json_response({"object": "list", "data": [_model(state) for state in states]})


def _labels(result: Sequence[ScoredLabel] | ClipError) -> Any:
    if isinstance(result, ClipError):
        return {"error": fields(result)}
    return orjson.Fragment(orjson.dumps({"labels": list(result)}))  # as text it takes a third of the memory


def _encoded(vector: npt.NDArray[np.float32], encoding_format: str) -> Any:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return np.ascontiguousarray(vector)


def _heading(answer: Classification | Embedding) -> dict[str, Any]:
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

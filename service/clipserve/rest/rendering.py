"""Answers as JSON or as a NumPy file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from clipserve.api.answers import Answer, Embeddings, ImageVector, shown
from clipserve.api.requests import EncodingFormat
from clipserve.application.answers import label_set, listed_label_set
from clipserve.application.label_sets.served import RETRY_SECONDS, LabelSet
from clipserve.application.ranking import RankedLabels
from clipserve.errors import ClipError
from clipserve.rest.errors import fields

NPY = "application/x-npy"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer, or any JSON, as JSON. NumPy arrays become lists, and the error of an item {"error": ...}."""
    return Response(orjson.dumps(body, _parts, _OPTIONS), status, headers, "application/json")


def _parts(value: object) -> Any:
    """What orjson does not know, one at a time: all labels of all images as objects would take much memory."""
    if isinstance(value, Answer):
        return shown(value)
    if isinstance(value, RankedLabels):
        return value.fields()
    if isinstance(value, ClipError):
        return {"error": fields(value)}
    raise TypeError


def embedding_response(answer: Embeddings, encoding_format: EncodingFormat, accept: str) -> Response:
    """JSON, or a NumPy file for who accepts that. `answer` has no errors then."""
    if NPY in accept:
        return _npy(answer)
    if encoding_format == "base64":
        return json_response(shown(answer) | {"results": [*map(_with_base64, answer.results)]})
    return json_response(answer)


def _with_base64(each: ImageVector | ClipError) -> object:
    return each if isinstance(each, ClipError) else shown(each) | {"embedding": in_base64(each.embedding)}


def _npy(answer: Embeddings) -> Response:
    """One array [N, D], or [N, D / 8] of bits, in NumPy's file format, images first."""
    file = io.BytesIO()
    rows = [each.embedding for each in answer.results if not isinstance(each, ClipError)]
    np.save(file, np.stack(rows), allow_pickle=False)
    return Response(file.getvalue(), 200, {"X-Model-Fingerprint": answer.fingerprint}, NPY)


def label_set_list_json(states: Sequence[LabelSet]) -> Response:
    return json_response({"label_sets": [*map(listed_label_set, states)]})


def label_set_json(state: LabelSet) -> Response:
    return json_response(label_set(state))


def put_json(state: LabelSet) -> Response:
    """200 if it is built, else 202."""
    if state.state == "ready":
        return label_set_json(state)
    return json_response(
        label_set(state), HTTPStatus.ACCEPTED, {"Retry-After": str(math.ceil(RETRY_SECONDS))}
    )


def in_base64(vector: npt.NDArray[Any]) -> str:
    return base64.b64encode(vector.tobytes()).decode()

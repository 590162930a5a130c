"""What the document can not say, for schemathesis: which bytes are an image, and what a raw image needs besides."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import Failure

from tests.support import png

_FILES = [png(seed, kind=kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
_ENCODED = [base64.b64encode(file).decode() for file in _FILES]
_URIS = [f"data:image/png;base64,{encoded}" for encoded in _ENCODED]

schemathesis.openapi.format("binary", strategies.sampled_from(_FILES))
schemathesis.openapi.format("image", strategies.sampled_from(_ENCODED + _URIS))
schemathesis.openapi.format("image-uri", strategies.sampled_from(_URIS))
for _kind in ("visual", "textual"):
    _entries = json.dumps({"clip": {_kind: {"modelName": "toy"}}})
    schemathesis.openapi.format(f"immich-{_kind}", strategies.just(_entries))
schemathesis.openapi.media_type("image/png", strategies.sampled_from(_FILES))


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    if case.path == "/classify" and (case.media_type or "").startswith("image/"):
        case.query = {"labels": ["cat", "dog"]}


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """False: no failure. A form knows text only: 5 for a text is the text "5", and one text is a list of one.

    A schema knows no arithmetic: the number of dimensions is the model's, and of many items some may be images.
    """
    if re.search(r"the vectors of toy have|the limit is (32|256)", response.text):
        return False
    wrong_type = re.search(r"Incorrect type|violates `type`", failure.message)
    return not (wrong_type and case.media_type == "multipart/form-data" and response.status_code == 200)

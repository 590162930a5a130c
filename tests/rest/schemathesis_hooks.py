"""What the document can not say, for schemathesis: which bytes are an image, and what a raw image needs besides."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import schemathesis
from hypothesis import strategies
from PIL import Image
from schemathesis.core.failures import Failure


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").save(file, kind)
    return file.getvalue()


_FILES = [_picture(kind) for kind in ("PNG", "JPEG", "WEBP")]
_ENCODED = [base64.b64encode(file).decode() for file in _FILES]
_URIS = [f"data:image/png;base64,{encoded}" for encoded in _ENCODED]

schemathesis.openapi.format("binary", strategies.sampled_from(_FILES))
schemathesis.openapi.format("image", strategies.sampled_from(_ENCODED + _URIS))
schemathesis.openapi.media_type("image/png", strategies.sampled_from(_FILES))
# What a raw image is beside, in the query.
_BESIDE = {"/classify": {"labels": ["cat", "dog"]}, "/similarity": {"to_texts": ["cat"]}}


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Requests without references: of a form with files it cannot make one that refers to a schema with `not`."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation.update(_resolved(raw_schema, {"requestBody": operation.get("requestBody", {})}))
            if not operation["requestBody"]:
                del operation["requestBody"]


def _resolved(document: dict[str, Any], value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(document, each) for each in value]
    if not isinstance(value, dict):
        return value
    own = {key: _resolved(document, each) for key, each in value.items() if key != "$ref"}
    if "$ref" not in value:
        return own
    return _resolved(document, document["components"]["schemas"][value["$ref"].rpartition("/")[2]]) | own


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    if case.path in _BESIDE and (case.media_type or "").startswith("image/"):
        case.query = {**_BESIDE[case.path]}


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """False: no failure. A form knows text only: 5 for a text is the text "5", and one text is a list of one.

    A schema knows no arithmetic: of many items some may be images, and a text is no base64; the digest of an
    example, which it has learned from a GET, is base64 and no image.
    Labels may be names or objects, and background labels are a list of their own: no two of all may be equal. Nor
    does it know what is in a template set, or that a slot has two spellings.
    """
    if re.search(
        r"the limit is (32|256|1,000)|is not valid base64"
        r"|example \d+ of label \d+: the bytes are not an image"
        r"|is the same as label|the id of label|label \d+: it"
        r"|\d templates; the limit is 100|template \d+ (is the same as|gives )",
        response.text,
    ):
        return False
    wrong_type = re.search(r"[Ii]ncorrect type|violates `type`", failure.message)
    return not (wrong_type and case.media_type == "multipart/form-data" and response.status_code == 200)

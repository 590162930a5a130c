"""What the document can not say, for schemathesis: which bytes are an image, and what a raw image needs besides."""

from __future__ import annotations

import base64
from typing import Any

import schemathesis
from hypothesis import strategies

from tests.support import png

_FILES = [png(seed, kind=kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
_ENCODED = [base64.b64encode(file).decode() for file in _FILES]

schemathesis.openapi.format("binary", strategies.sampled_from(_FILES))
schemathesis.openapi.format(
    "image",
    strategies.sampled_from(_ENCODED)
    | strategies.sampled_from(_ENCODED).map("data:image/png;base64,{}".format),
)
schemathesis.openapi.media_type("image/png", strategies.sampled_from(_FILES))


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if case.path == "/classify" and (case.media_type or "").startswith("image/"):
        case.query = {"labels": ["cat", "dog"]}

"""immich's smart search: POST /predict and GET /ping of its machine-learning server, without faces and OCR."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import PlainTextResponse, Response

from clipserve.api.answers import Embeddings, ImageVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.errors import InvalidInput
from clipserve.rest.compat.shared import TAGS, JsonAnswer, chosen, shaped
from clipserve.rest.document import OF_FINGERPRINT, failures
from clipserve.rest.reading import FORM, Upload, parse_upload, reading, service_of

router = APIRouter(tags=[*TAGS])

_MAX_ENTRIES = 4_096  # characters; immich sends a hundred
_FORM = "entries must be JSON such as " + '{"clip": {"visual": {"modelName": "ViT-B-32__openai"}}}'
_SCHEMA = {
    "type": "object",
    "properties": {
        "entries": {"type": "string", "format": "immich-entries", "description": _FORM},
        "image": {"type": "string", "format": "binary", "description": "for `visual`, without `text`"},
        "text": {"type": "string", "description": "for `textual`, without `image`"},
    },
    "required": ["entries"],
    "additionalProperties": {"type": "string"},
}
_EXAMPLE = {"entries": '{"clip": {"textual": {"modelName": "$first_model"}}}', "text": "a photo of a cat"}


class ImmichVector(JsonAnswer):
    clip: Annotated[str, Field(description="the vector as a JSON list, in a string")]


def _read(upload: Upload, request: Request, limits: RequestLimits) -> EmbedRequest:
    kind, model = _entry(upload.fields.get("entries"))
    images, texts = upload.images.get("images", ()), upload.fields.get("texts", ())
    named, other = ("image", "text") if kind == "visual" else ("text", "image")
    parts = {"image": images, "text": texts}
    asks = f"entries asks for the vector of one {named}, and the form has"
    if (count := len(parts[named])) != 1:
        raise InvalidInput(f"{asks} {count} {named}s.")
    if parts[other]:
        raise InvalidInput(
            f"{asks} {len(parts[other])} {other}s too, which it does not name: leave them out."
        )
    # Like immich, cut a long text.
    return EmbedRequest(images, texts, truncate=True, **chosen(request, model)).check(limits)


class _Model(BaseModel):
    modelName: str  # noqa: N815 - immich's name


class _Entries(BaseModel):
    """What immich asks for: one vector, and of which kind. Faces and OCR are refused."""

    model_config = ConfigDict(extra="forbid")

    clip: Annotated[dict[Literal["visual", "textual"], _Model], Field(min_length=1, max_length=1)]


def _entry(entries: object) -> tuple[str, str]:
    """`visual` or `textual`, and the name of the model."""
    try:
        if isinstance(entries, str) and len(entries) <= _MAX_ENTRIES:
            ((kind, model),) = _Entries.model_validate_json(entries).clip.items()
            return kind, model.modelName
    except ValidationError:
        pass
    raise InvalidInput(f"{_FORM}, of at most {_MAX_ENTRIES:,} characters. Faces and OCR are not served here.")


@router.post(
    "/predict",
    summary="Return the vector of one image or text, as immich expects of its machine-learning server.",
    response_model=ImmichVector,
    responses=failures(images=True) | OF_FINGERPRINT,
    openapi_extra={
        "requestBody": {"required": True, "content": {FORM: {"schema": _SCHEMA, "example": _EXAMPLE}}}
    },
)
async def immich_predict(
    request: Request, asked: Annotated[EmbedRequest, Depends(reading(parse_upload, _read))]
) -> Response:
    service = service_of(request)
    return await service.rendered(_rendered, await service.inference.embed(asked))


def _rendered(answer: Embeddings) -> Response:
    (result,) = answer.results
    assert isinstance(result, ImageVector)  # the error of the only item is the request's
    shown = orjson.dumps(result.embedding, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return shaped({"clip": shown}, answer)


@router.get(
    "/ping",
    summary="200 while the process is alive, as immich expects.",
    response_class=PlainTextResponse,
    responses=failures(open_=True),
    openapi_extra={"security": []},
)
async def immich_ping() -> Response:
    return PlainTextResponse("pong")

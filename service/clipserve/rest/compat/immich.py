"""immich's smart search: POST /predict and GET /ping of its machine-learning server, without faces and OCR."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import PlainTextResponse, Response

from clipserve.api.answers import Embeddings, ImageVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.shared import rendered
from clipserve.errors import InvalidInput, UnsupportedMediaType
from clipserve.rest.compat.shared import adapter_router, chosen, example_of, shaped
from clipserve.rest.reading import FORM, Upload, parse_upload, reading, service_of

router = adapter_router()

_MAX_ENTRIES = 4_096  # characters; immich sends a hundred
_FORM = "entries must be JSON such as " + '{"clip": {"visual": {"modelName": "ViT-B-32__openai"}}}'
_EXAMPLE = {"entries": '{"clip": {"textual": {"modelName": "demo"}}}', "text": "a photo of a cat"}


def _read(upload: Upload, request: Request, limits: RequestLimits) -> EmbedRequest:
    if upload.typed:  # JSON, whose texts may be anything
        raise UnsupportedMediaType(f"this endpoint takes {FORM}, as immich sends it.")
    kind, model = _entry(upload.fields.get("entries"))
    images, texts = upload.fields.get("images", ()), upload.fields.get("texts", ())
    if (len(images), len(texts)) != ((1, 0) if kind == "visual" else (0, 1)):
        has = f"the form has {len(images)} images and {len(texts)} texts"
        raise InvalidInput(f"entries asks for one vector of {kind} content alone, and {has}.")
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
    openapi_extra=example_of(_EXAMPLE, FORM),
)
async def immich_predict(
    request: Request, asked: Annotated[EmbedRequest, Depends(reading(parse_upload, _read))]
) -> Response:
    return await rendered(_rendered, await service_of(request).inference.embed(asked))


def _rendered(answer: Embeddings) -> Response:
    (result,) = answer.results
    assert isinstance(result, ImageVector)  # the error of the only item is the request's
    shown = orjson.dumps(result.embedding, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return shaped({"clip": shown}, answer)


@router.get(
    "/ping",
    summary="200 while the process is alive, as immich expects.",
    response_class=PlainTextResponse,
    openapi_extra={"security": []},
)
async def immich_ping() -> Response:
    return PlainTextResponse("pong")

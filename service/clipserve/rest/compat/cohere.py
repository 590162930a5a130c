"""POST /v2/embed of Cohere's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from clipserve.api.answers import Embeddings, TextVector
from clipserve.api.fields import Number
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbeddingType, EmbedRequest
from clipserve.application.encodings import ENCODERS
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, item, items_of, message
from clipserve.rest.compat.shared import (
    IMAGE,
    MESSAGE,
    TAGS,
    TEXT,
    Dimensions,
    Ignored,
    JsonAnswer,
    Options,
    list_of,
    one_of,
    shaped,
)
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import in_base64

router = APIRouter(tags=[*TAGS])

_Type = Literal["float", "int8", "binary", "ubinary", "base64"]
_ENCODINGS: dict[_Type, EmbeddingType] = {
    "float": "float32",
    "base64": "float32",
    "int8": "int8",
    "binary": "binary",
    "ubinary": "ubinary",
}
_URI = "data:image/png;base64,$png"


class CohereEmbedRequest(Options):
    """All but what to embed. Other fields are ignored, `input_type` too: CLIP has one space for all inputs."""

    model_config = one_of(
        texts=list_of(TEXT, "$max_texts"),
        images=list_of(IMAGE, "$max_images"),
        inputs=list_of(MESSAGE, "$max_images"),
    )

    input_type: Ignored = None
    embedding_types: Annotated[
        list[_Type] | None,
        Field(max_length=len(_ENCODINGS), description="default: float; uint8 is not supported"),
    ] = None
    output_dimension: Dimensions | None = None
    truncate: Annotated[
        Literal["NONE", "END"],
        Field(
            description="NONE refuses a text of too many tokens; END cuts its end and says so in `meta.warnings`; "
            "default: END"
        ),
    ] = "END"


_Asked = Asked[EmbedRequest, CohereEmbedRequest]


class CohereVectors(JsonAnswer):
    float: list[list[Number]] | None = None
    int8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class CohereEmbeddings(JsonAnswer):
    """The vectors in each type, in the order of the inputs."""

    id: Annotated[str, Field(description="the request id")]
    embeddings: CohereVectors
    texts: Annotated[list[str], Field(description="the texts of the inputs")]
    meta: Annotated[
        dict[str, Any],
        Field(description="the numbers of tokens and images; `warnings` names texts that were cut"),
    ]
    response_type: Literal["embeddings_by_type"]


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = _items(body.fields)
    if body.fields.get("truncate") == "START":
        raise InvalidInput("truncate START is not offered: a text is cut at its end (END) or refused (NONE).")
    options = CohereEmbedRequest.of(body.fields)
    return asked_for(body, request, limits, items, options, truncate=options.truncate == "END")


def _items(fields: dict[str, Any]) -> list[Item]:
    given = {name: fields.pop(name) for name in ("texts", "images", "inputs") if fields.get(name) is not None}
    if len(given) != 1:
        raise InvalidInput("send one of `texts`, `images` and `inputs`.")
    ((name, value),) = given.items()
    if name == "inputs":
        return items_of(value, name, message)
    key = name.removesuffix("s")
    return items_of(value, name, lambda each, place: item({key: each}, place))


@router.post(
    "/v2/embed",
    summary="Return vectors of texts and images in several types at once, as Cohere's clients expect.",
    response_model=CohereEmbeddings,
    responses=failures(images=True) | OF_FINGERPRINT,
    openapi_extra=body_of(
        CohereEmbedRequest,
        {"texts": ["a photo of a cat"], "input_type": "search_query", "embedding_types": ["float"]},
        {"images": [_URI], "input_type": "image", "embedding_types": ["int8", "ubinary"]},
        {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": _URI}}]}]},
    ),
)
async def cohere_embed(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    answer = await asked.embed(service.inference, asked.options.output_dimension)
    return await service.rendered(_rendered, answer, asked, request.state.id)


def _rendered(answer: Embeddings, asked: _Asked, request_id: str) -> Response:
    results = asked.results(answer)
    units = {
        "input_tokens": sum(result.tokens for result in results),
        "images": sum(each.is_image for each in asked.items),
    }
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": units}
    if cut := [each.name for each, result in zip(asked.items, results, strict=True) if result.truncated]:
        meta["warnings"] = [f"{name} has too many tokens and was cut at its end." for name in cut]
    types = asked.options.embedding_types or ["float"]
    shown = {
        "id": request_id,
        "embeddings": {kind: [_shown(result, kind) for result in results] for kind in types},
        "texts": asked.request.texts,
        "meta": meta,
        "response_type": "embeddings_by_type",
    }
    return shaped(shown, answer)


def _shown(result: TextVector, kind: _Type) -> Any:
    vector = result.embedding
    return in_base64(vector) if kind == "base64" else ENCODERS[_ENCODINGS[kind]](vector).values

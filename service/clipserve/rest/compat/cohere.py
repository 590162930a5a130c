"""POST /v2/embed of Cohere's API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from pydantic import Field
from starlette.responses import Response

from clipserve.api.answers import Embeddings, TextVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbeddingType, EmbedRequest
from clipserve.application.encodings import ENCODERS
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, item, items_of, message
from clipserve.rest.compat.shared import Dimensions, Options, adapter_router, example_of, shaped
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading
from clipserve.rest.rendering import in_base64
from clipserve.rest.validating import validated

router = adapter_router()

_Type = Literal["float", "int8", "binary", "ubinary", "base64"]
_ENCODINGS: dict[_Type, EmbeddingType] = {
    "float": "float32",
    "base64": "float32",
    "int8": "int8",
    "binary": "binary",
    "ubinary": "ubinary",
}


class CohereEmbedRequest(Options):
    """All but what to embed. `input_type` is ignored: CLIP has one space for all inputs."""

    embedding_types: Annotated[list[_Type] | None, Field(max_length=len(_ENCODINGS))] = None
    output_dimension: Dimensions | None = None
    truncate: Literal["NONE", "END"] = "END"


_Asked = Asked[EmbedRequest, CohereEmbedRequest]


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = _items(fields)
    options = validated(CohereEmbedRequest, fields)
    return asked_for(request, limits, items, options, truncate=options.truncate == "END")


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
    openapi_extra=example_of({"texts": ["a photo of a cat"], "embedding_types": ["float"]}),
)
async def cohere_embed(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    render = partial(_rendered, request_id=request.state.id)
    return await asked.answered(request, render, asked.options.output_dimension)


def _rendered(answer: Embeddings, asked: _Asked, request_id: str) -> Response:
    results = asked.results(answer)
    images = sum(each.is_image for each in asked.items)
    units = {"input_tokens": sum(result.tokens for result in results), "images": images}
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

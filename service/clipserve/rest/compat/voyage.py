"""POST /v1/multimodalembeddings of Voyage's API; its texts alone go to /v1/embeddings, as OpenAI's do."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Request
from starlette.responses import Response

from clipserve.api.answers import Embeddings
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.rest.compat.items import Asked, asked_for, items_of, message
from clipserve.rest.compat.openai import openai_vectors
from clipserve.rest.compat.shared import Dimensions, Options, adapter_router, example_of, shaped
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading
from clipserve.rest.validating import validated

router = adapter_router()


class VoyageEmbedRequest(Options):
    """All but what to embed. `truncation`: cut texts of too many tokens."""

    truncation: bool = True
    output_dimension: Dimensions | None = None
    output_dtype: Literal["float"] | None = None
    output_encoding: Literal["base64"] | None = None


_Asked = Asked[EmbedRequest, VoyageEmbedRequest]


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = items_of(fields.get("inputs"), "inputs", message)
    options = validated(VoyageEmbedRequest, fields)
    return asked_for(request, limits, items, options, truncate=options.truncation)


@router.post(
    "/v1/multimodalembeddings",
    summary="Return vectors of inputs with one text or one image each, as Voyage's clients expect.",
    openapi_extra=example_of({"inputs": [{"content": [{"type": "text", "text": "a photo of a cat"}]}]}),
)
async def voyage_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    return await asked.answered(request, _rendered, asked.options.output_dimension)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    results = asked.results(answer)
    tokens = sum(result.tokens for result in results)
    # Pixels are not billed.
    usage = {"text_tokens": tokens, "image_pixels": 0, "video_pixels": 0, "total_tokens": tokens}
    data = openai_vectors(results, asked.options.output_encoding or "float")
    shown = {"object": "list", "data": data, "model": answer.model, "usage": usage}
    return shaped(shown, answer)

"""POST /v1/multimodalembeddings of Voyage's API; its texts alone go to /v1/embeddings, as OpenAI's do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.limits import RequestLimits
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.rest.compat.items import Mixed, items_of, message, mixed
from clipserve.rest.compat.openai import OpenAIVector, openai_vectors
from clipserve.rest.compat.shared import OF_FINGERPRINT, Dimensions, Ignored, Options, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.request import Request
from clipserve.rest.schemas import named
from clipserve.rest.uploads import parse_object


class _Options(Options):
    inputs: Annotated[list[Any], WithJsonSchema(named("Inputs"))]
    input_type: Ignored = None
    truncation: Annotated[bool, Field(description="cut texts of too many tokens; false refuses them")] = True
    output_dimension: Dimensions | None = None
    output_dtype: Literal["float"] | None = None
    output_encoding: Literal["base64"] | None = None


class VoyageUsage(JsonAnswer):
    text_tokens: int
    image_pixels: Annotated[int, Field(description="always 0: pixels are not billed")]
    video_pixels: int
    total_tokens: int


class VoyageEmbeddings(JsonAnswer):
    """Vectors in the order of `inputs`."""

    object: Literal["list"]
    data: list[OpenAIVector]
    model: str
    usage: VoyageUsage


async def voyage_embeddings(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    answer = await asked.embed(front.inference, asked.options.output_dimension)
    return await front.rendered(_rendered, answer, asked)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> Mixed[_Options]:
    items = items_of(body.fields.get("inputs"), "inputs", message)
    options = _Options.of(body.fields)
    return mixed(body, request, limits, "inputs", items, options, truncate=options.truncation)


def _rendered(answer: Embedding, asked: Mixed[_Options]) -> Response:
    results = asked.results(answer)
    tokens = sum(result.tokens for result in results)
    usage = {"text_tokens": tokens, "image_pixels": 0, "video_pixels": 0, "total_tokens": tokens}
    data = openai_vectors(results, asked.options.output_encoding or "float")
    return shaped(
        {"object": "list", "data": data, "model": answer.model, "usage": usage}, answer, asked.warning()
    )


_URI = "data:image/png;base64,$png"
OPERATIONS = [
    Operation(
        "POST /v1/multimodalembeddings",
        voyage_embeddings,
        "Return vectors of inputs with one text or one image each, as Voyage's clients expect.",
        Answered(
            "Vectors.",
            VoyageEmbeddings,
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.8, 0.6]}],
                "model": "demo",
                "usage": {"text_tokens": 7, "image_pixels": 0, "video_pixels": 0, "total_tokens": 7},
            },
            OF_FINGERPRINT,
        ),
        kind=_Options,
        examples={
            "a text": {"inputs": [{"content": [{"type": "text", "text": "a photo of a cat"}]}]},
            "an image": {"inputs": [{"content": [{"type": "image_base64", "image_base64": _URI}]}]},
        },
    )
]

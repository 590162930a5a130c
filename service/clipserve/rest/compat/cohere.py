"""POST /v2/embed of Cohere's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.fields import ModelName, Number
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbeddingType
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import (
    OF_FINGERPRINT,
    Dimensions,
    Ignored,
    Item,
    Mixed,
    Vector,
    chosen,
    item,
    listed,
    message,
    mixed,
    shaped,
)
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.rendering import vector_fields
from clipserve.rest.request import Request
from clipserve.rest.schemas import named
from clipserve.rest.uploads import parse_object, validated

_Type = Literal["float", "int8", "binary", "ubinary", "base64"]
_ENCODINGS: dict[_Type, EmbeddingType] = {
    "float": "float32",
    "base64": "float32",
    "int8": "int8",
    "binary": "binary",
    "ubinary": "ubinary",
}


def _only(field: str) -> dict[str, Any]:
    """A JSON schema: of the three fields with items, this one is given."""
    absent = [name for name in ("texts", "images", "inputs") if name != field]
    given = {field: named(f"Cohere{field.capitalize()}")}
    return {"properties": given | {name: {"type": "null"} for name in absent}, "required": [field]}


class _Options(BaseModel):
    """All but what to embed. Other fields are ignored, `input_type` too: CLIP has one space for all inputs."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"oneOf": [_only("texts"), _only("images"), _only("inputs")]}
    )

    model: ModelName | None = None
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


async def cohere_embed(front: Front, request: Request, body: Body) -> Response:
    asked, options = await front.parsed(parse_object, _read, request, body)
    answer = await asked.embed(front.inference, options.output_dimension)
    return await front.rendered(_rendered, answer, asked, options, request.id)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> tuple[Mixed, _Options]:
    name, items = _items(body.fields)
    if body.fields.get("truncate") == "START":
        raise InvalidInput("truncate START is not offered: a text is cut at its end (END) or refused (NONE).")
    options = validated(_Options.model_validate, body.fields)
    choices = chosen(request, options.model)
    return mixed(body, items, name, limits, truncate=options.truncate == "END", **choices), options


def _rendered(answer: Embedding, asked: Mixed, options: _Options, request_id: str) -> Response:
    results = asked.results(answer)
    units = {"input_tokens": sum(result.tokens for result in results), "images": len(answer.images)}
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": units}
    if cut := [i for i, result in enumerate(results) if result.truncated]:
        meta["warnings"] = [f"{asked.name}[{i}] has too many tokens and was cut at its end." for i in cut]
    types = options.embedding_types or ["float"]
    shown = {
        "id": request_id,
        "embeddings": {kind: [_shown(result.vector, kind) for result in results] for kind in types},
        "texts": asked.asked.texts,
        "meta": meta,
        "response_type": "embeddings_by_type",
    }
    return shaped(shown, answer)


def _items(fields: dict[str, Any]) -> tuple[str, list[Item]]:
    given = {name: fields.pop(name) for name in ("texts", "images", "inputs") if fields.get(name) is not None}
    if len(given) != 1:
        raise InvalidInput("send one of `texts`, `images` and `inputs`.")
    ((name, value),) = given.items()
    values = listed(value, name)
    if name == "inputs":
        return name, [message(each, f"inputs[{i}]") for i, each in enumerate(values)]
    key = name.removesuffix("s")
    return name, [item({key: each}, f"{name}[{i}]") for i, each in enumerate(values)]


def _shown(vector: Vector, name: _Type) -> Any:
    encoding_format = "base64" if name == "base64" else "float"
    return vector_fields(vector, encoding_format, _ENCODINGS[name])["embedding"]


_URI = "data:image/png;base64,$png"
OPERATIONS = [
    Operation(
        "POST /v2/embed",
        cohere_embed,
        "Return vectors of texts and images in several types at once, as Cohere's clients expect.",
        Answered(
            "Vectors.",
            CohereEmbeddings,
            {
                "id": "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987",
                "embeddings": {"float": [[0.8, 0.6]]},
                "texts": ["a photo of a cat"],
                "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7, "images": 0}},
                "response_type": "embeddings_by_type",
            },
            OF_FINGERPRINT,
        ),
        kind=_Options,
        examples={
            "texts": {
                "texts": ["a photo of a cat"],
                "input_type": "search_query",
                "embedding_types": ["float"],
            },
            "images": {"images": [_URI], "input_type": "image", "embedding_types": ["int8", "ubinary"]},
            "inputs": {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": _URI}}]}]},
        },
    )
]

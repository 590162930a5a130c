"""POST /v2/embed of Cohere's API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding
from clipserve.application.encodings import EmbeddingType
from clipserve.application.limits import RequestLimits
from clipserve.application.shared import Question
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import (
    Dimensions,
    Item,
    Vector,
    chosen,
    item,
    listed,
    mixed,
    only_item,
    shaped,
)
from clipserve.rest.json_body import JsonObject
from clipserve.rest.rendering import vector_fields
from clipserve.rest.uploads import validated

_Type = Literal["float", "int8", "binary", "ubinary", "base64"]
_ENCODINGS: dict[_Type, EmbeddingType] = {
    "float": "float32",
    "base64": "float32",
    "int8": "int8",
    "binary": "binary",
    "ubinary": "ubinary",
}


class _Options(BaseModel):
    """All but what to embed. Other fields are ignored, `input_type` too: CLIP has one space for all inputs."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    embedding_types: list[_Type] | None = Field(default=None, max_length=len(_ENCODINGS))
    output_dimension: Dimensions | None = None
    truncate: Literal["NONE", "END"] = "END"


def read(request: Request, body: JsonObject, limits: RequestLimits) -> Question[Embedding, Response]:
    name, items = _items(body.fields)
    if body.fields.get("truncate") == "START":
        raise InvalidInput("truncate START is not offered: a text is cut at its end (END) or refused (NONE).")
    said = validated(body.fields, _Options)
    choices = {"truncate": said.truncate == "END", "dimensions": said.output_dimension}
    asked = mixed(body, items, name, limits, **choices, **chosen(request, said.model))
    types = said.embedding_types or ["float"]

    def rendered(answer: Embedding) -> Response:
        results = asked.results(answer)
        units = {"input_tokens": sum(result.tokens for result in results), "images": len(answer.images)}
        meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": units}
        if cut := [i for i, result in enumerate(results) if result.truncated]:
            meta["warnings"] = [f"{name}[{i}] has too many tokens and was cut at its end." for i in cut]
        shown = {
            "id": request.scope["request_id"],
            "embeddings": {kind: [_shown(result.vector, kind) for result in results] for kind in types},
            "texts": asked.asked.texts,
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
        return shaped(shown, answer)

    return Question(asked.embed, rendered)


def _items(fields: dict[str, Any]) -> tuple[str, list[Item]]:
    given = {name: fields.pop(name) for name in ("texts", "images", "inputs") if fields.get(name) is not None}
    if len(given) != 1:
        raise InvalidInput("send one of `texts`, `images` and `inputs`.")
    ((name, value),) = given.items()
    values = listed(value, name)
    if name == "inputs":
        return name, [_input(each, f"inputs[{i}]") for i, each in enumerate(values)]
    key = name.removesuffix("s")
    return name, [item({key: each}, f"{name}[{i}]") for i, each in enumerate(values)]


def _input(value: object, name: str) -> Item:
    content = value.get("content") if isinstance(value, dict) else None
    name = f"{name}.content"
    return only_item([(f"{name}[{k}]", part) for k, part in enumerate(listed(content, name))], name)


def _shown(vector: Vector, name: _Type) -> Any:
    encoding_format = "base64" if name == "base64" else "float"
    return vector_fields(vector, encoding_format, _ENCODINGS[name])["embedding"]

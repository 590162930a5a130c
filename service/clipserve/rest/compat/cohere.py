"""POST /v2/embed of Cohere's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding, is_short
from clipserve.application.encodings import EmbeddingType
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.concurrency import SideThread
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import (
    Dimensions,
    Item,
    Mixed,
    Result,
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
from clipserve.rest.uploads import Uploads, validated
from clipserve.telemetry.request import current

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


def add_cohere(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    @app.router.route("/v2/embed", methods=["POST"])
    async def embed(request: Request) -> Response:
        asked, types = await uploads.read_json(request, lambda body: _read(request, body, inference.limits))
        answer, results = await asked.embed(inference)
        context = current()
        request_id = next((each.id for each in context.requests), "") if context else ""
        return await side.call(_rendered, asked, answer, results, types, request_id, short=is_short(answer))


def _read(request: Request, body: JsonObject, limits: RequestLimits) -> tuple[Mixed, Sequence[_Type]]:
    name, items = _items(body.fields)
    if body.fields.get("truncate") == "START":
        raise InvalidInput("truncate START is not offered: a text is cut at its end (END) or refused (NONE).")
    said = validated(body.fields, _Options)
    choices = {"truncate": said.truncate == "END", "dimensions": said.output_dimension}
    asked = mixed(body, items, name, limits, **choices, **chosen(request, said.model))
    return asked, said.embedding_types or ["float"]


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


def _rendered(
    asked: Mixed,
    answer: Embedding,
    results: Sequence[Result],
    types: Sequence[_Type],
    request_id: str,
) -> Response:
    embeddings = {name: [_shown(result.vector, name) for result in results] for name in types}
    units = {"input_tokens": sum(result.tokens for result in results), "images": len(answer.images)}
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": units}
    if cut := [i for i, result in enumerate(results) if result.truncated]:
        meta["warnings"] = [f"{asked.name}[{i}] has too many tokens and was cut at its end." for i in cut]
    body = {
        "id": request_id,
        "embeddings": embeddings,
        "texts": asked.asked.texts,
        "meta": meta,
        "response_type": "embeddings_by_type",
    }
    return shaped(body, answer)


def _shown(vector: Vector, name: _Type) -> Any:
    encoding_format = "base64" if name == "base64" else "float"
    return vector_fields(vector, encoding_format, _ENCODINGS[name])["embedding"]

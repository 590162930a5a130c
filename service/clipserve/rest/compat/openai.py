"""POST /v1/embeddings of OpenAI's API, with images in the forms of infinity, Jina and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import AliasChoices, ConfigDict, Field
from starlette.responses import Response

from clipserve import errors
from clipserve.api.answers import Embeddings, TextVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, item, items_of, listed, only_item, parts_of
from clipserve.rest.compat.shared import (
    CHAT_MESSAGE,
    IMAGE_ITEM,
    ITEM,
    TAGS,
    Dimensions,
    Ignored,
    JsonAnswer,
    Options,
    list_of,
    shaped,
)
from clipserve.rest.document import OF_FINGERPRINT, Json, body_of, failures
from clipserve.rest.errors import Failure, told
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import in_base64

router = APIRouter(tags=[*TAGS])

_URI = "data:image/png;base64,$png"
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def _given(field: str, schema: Json, modality: list[str | None]) -> Json:
    """A JSON schema: one of `input` and `messages` is given, and the other is not."""
    absent = "messages" if field == "input" else "input"
    return {
        "properties": {"modality": {"enum": modality}, field: schema, absent: {"type": "null"}},
        "required": [field] if None in modality else [field, "modality"],
    }


_MOST = "At most $max_texts texts and $max_images images."
_INPUT: Json = {
    "description": "a text or an image, or a list of them. A string is a text, or an image if it is a data URI. "
    + _MOST,
    "anyOf": [ITEM, list_of(ITEM)],
}
_IMAGES: Json = {
    "description": "with modality `image`, strings are base64. " + _MOST,
    "anyOf": [IMAGE_ITEM, list_of(IMAGE_ITEM)],
}
_MESSAGES = list_of(CHAT_MESSAGE, 1) | {
    "description": "in place of `input`: one message with one text or one image; gives one vector"
}


class OpenAIEmbedRequest(Options):
    """All but what to embed. Fields of other names are ignored: gateways and frameworks add their own."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _given("input", _INPUT, ["text", None]),
                _given("input", _IMAGES, ["image"]),
                _given("messages", _MESSAGES, ["text", "image", None]),
            ]
        },
    )

    modality: Literal["text", "image"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: Annotated[
        Literal["float", "base64"] | None, Field(description="the same as `encoding_format`, by Jina's name")
    ] = None
    dimensions: Annotated[
        Dimensions | None, Field(validation_alias=AliasChoices("dimensions", "output_dimension"))
    ] = None
    output_dtype: Annotated[Literal["float"] | None, Field(description="of Voyage's clients")] = None
    normalized: Annotated[Literal[True] | None, Field(description="vectors always have unit length")] = None
    truncate: Annotated[
        bool | None,
        Field(
            description="cut texts of too many tokens instead of refusing them; `truncation` of Voyage's clients",
            validation_alias=AliasChoices("truncate", "truncation"),
        ),
    ] = None
    user: Ignored = None


_Asked = Asked[EmbedRequest, OpenAIEmbedRequest]


class OpenAIVector(JsonAnswer):
    object: Literal["embedding"]
    index: Annotated[int, Field(description="position in `input`")]
    embedding: Annotated[list[float] | str, Field(description="numbers, or base64 of little-endian float32")]


class OpenAIUsage(JsonAnswer):
    prompt_tokens: Annotated[
        int, Field(description="tokens of all texts, before texts are cut; images count 0")
    ]
    total_tokens: int


class OpenAIEmbeddings(JsonAnswer):
    """Vectors in the order of `input`."""

    object: Literal["list"]
    data: list[OpenAIVector]
    model: str
    usage: OpenAIUsage


class OpenAIErrorFields(JsonAnswer):
    message: str
    type: Annotated[str, Field(description="the kind of error, as OpenAI names it")]
    param: Annotated[str | None, Field(description="the field that the error is about, if there is one")]
    code: Annotated[str, Field(description="stable: clients may branch on it")]


class OpenAIError(JsonAnswer):
    """An error as OpenAI's clients expect it."""

    error: OpenAIErrorFields


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = _items(body.fields)
    options = OpenAIEmbedRequest.of(body.fields)
    return asked_for(body, request, limits, items, options, truncate=bool(options.truncate))


@router.post(
    "/v1/embeddings",
    summary="Return vectors of texts and images in the order of `input`, as OpenAI's clients expect.",
    description="Strings are texts, data URIs are images. One bad item fails the whole request, because this API "
    "has no place for the error of an item.",
    response_model=OpenAIEmbeddings,
    responses=failures(images=True, error=OpenAIError) | OF_FINGERPRINT,
    openapi_extra=body_of(
        OpenAIEmbedRequest,
        {"input": ["a photo of a cat", _URI], "encoding_format": "float"},
        {"input": ["$png"], "modality": "image"},
        {"input": [{"text": "a photo of a cat"}, {"image": "$png"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _URI}}]}]},
    ),
)
async def openai_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    answer = await asked.embed(service.inference, asked.options.dimensions)
    return await service.rendered(_rendered, answer, asked)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    encoding_format = asked.options.encoding_format or asked.options.embedding_type or "float"
    results = asked.results(answer)
    data = openai_vectors(results, encoding_format)
    tokens = sum(result.tokens for result in results)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return shaped({"object": "list", "data": data, "model": answer.model, "usage": usage}, answer)


def openai_vectors(results: Sequence[TextVector], encoding_format: Literal["float", "base64"]) -> list[Json]:
    """Each as an `OpenAIVector`."""
    return [
        {
            "object": "embedding",
            "index": index,
            "embedding": in_base64(result.embedding) if encoding_format == "base64" else result.embedding,
        }
        for index, result in enumerate(results)
    ]


def openai_error(error: Failure, request_id: str) -> Response:  # noqa: ARG001 - X-Request-Id has it
    """An error as {"error": {"message", "type", "param", "code"}}, with our status and code."""
    status, shown, headers = told(error)
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    fields = {"message": shown["detail"], "type": kind, "param": _param(error), "code": shown["code"]}
    return Response(orjson.dumps({"error": fields}), status.value, headers, "application/json")


def _param(error: Failure) -> str | None:
    if isinstance(error, errors.UnknownModel):
        return "model"
    return "input" if isinstance(error, ClipError) and error.index is not None else None


def _items(fields: dict[str, Any]) -> list[Item]:
    asked, messages = fields.pop("input", None), fields.pop("messages", None)
    if (asked is None) == (messages is None):
        raise InvalidInput(
            "send `input`, a text or a list of texts and images, or `messages`; one of the two."
        )
    if messages is not None:
        return [_of_messages(messages)]
    if isinstance(asked, list) and asked and isinstance(asked[0], int | list):
        raise InvalidInput(
            "input holds token ids, of a tokenizer that is not this model's: send texts. With langchain_openai, "
            "set OpenAIEmbeddings(check_embedding_ctx_length=False)."
        )
    read = partial(item, are_images=fields.get("modality") == "image")
    return items_of(asked if isinstance(asked, list) else [asked], "input", read)


def _of_messages(messages: object) -> Item:
    """The only text or image of all messages but instructions, for which CLIP has no use."""
    parts: list[tuple[str, object]] = []
    for i, message in enumerate(listed(messages, "messages")):
        fields = message if isinstance(message, dict) else {}
        if isinstance(text := fields.get("content"), str) and fields.get("role") != "system":
            parts.append((f"messages[{i}].content", {"text": text}))
        elif fields.get("role") != "system":
            parts += parts_of(message, f"messages[{i}]")
    return only_item(parts, "messages")

"""POST /v1/embeddings of OpenAI's API, with images in the forms of infinity, Jina and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, Request
from pydantic import AliasChoices, Field
from starlette.responses import Response

from clipserve import errors
from clipserve.api.answers import Embeddings, TextVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, item, items_of, listed, only_item, parts_of
from clipserve.rest.compat.shared import Dimensions, Options, adapter_router, example_of, shaped
from clipserve.rest.document import Json
from clipserve.rest.errors import Failure, told
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading
from clipserve.rest.rendering import in_base64
from clipserve.rest.validating import validated

router = adapter_router()

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class OpenAIEmbedRequest(Options):
    """All but what to embed. Some names are Jina's (`embedding_type`) and Voyage's (`output_*`, `truncation`)."""

    modality: Literal["text", "image"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: Literal["float", "base64"] | None = None
    dimensions: Annotated[
        Dimensions | None, Field(validation_alias=AliasChoices("dimensions", "output_dimension"))
    ] = None
    output_dtype: Literal["float"] | None = None
    normalized: Literal[True] | None = None
    truncate: Annotated[bool | None, Field(validation_alias=AliasChoices("truncate", "truncation"))] = None


_Asked = Asked[EmbedRequest, OpenAIEmbedRequest]


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = _items(fields)
    options = validated(OpenAIEmbedRequest, fields)
    return asked_for(request, limits, items, options, truncate=bool(options.truncate))


@router.post(
    "/v1/embeddings",
    summary="Return vectors of texts and images in the order of `input`, as OpenAI's clients expect.",
    description="Strings are texts, data URIs are images. One bad item fails the whole request, because this API "
    "has no place for the error of an item.",
    openapi_extra=example_of({"input": ["a photo of a cat", {"image": "$png"}]}),
)
async def openai_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    return await asked.answered(request, _rendered, asked.options.dimensions)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    encoding_format = asked.options.encoding_format or asked.options.embedding_type or "float"
    results = asked.results(answer)
    data = openai_vectors(results, encoding_format)
    tokens = sum(result.tokens for result in results)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return shaped({"object": "list", "data": data, "model": answer.model, "usage": usage}, answer)


def openai_vectors(results: Sequence[TextVector], encoding_format: Literal["float", "base64"]) -> list[Json]:
    """The field `data` of the answer."""
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
        if fields.get("role") == "system":
            continue
        if isinstance(text := fields.get("content"), str):
            parts.append((f"messages[{i}].content", {"text": text}))
        else:
            parts += parts_of(message, f"messages[{i}]")
    return only_item(parts, "messages")

"""POST /v1/embeddings of OpenAI's API, with images in the forms of infinity, Jina and vLLM."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from clipserve import errors
from clipserve.api.limits import RequestLimits
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import (
    MAX_ITEMS,
    Dimensions,
    Item,
    Mixed,
    chosen,
    item,
    listed,
    mixed,
    only_item,
    shaped,
)
from clipserve.rest.errors import Failure, told
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.rendering import vector_fields
from clipserve.rest.request import Request
from clipserve.rest.uploads import parse_object, validated

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class _Options(BaseModel):
    """All but what to embed. Fields of other names are ignored: gateways and frameworks add their own."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    modality: Literal["text", "image"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: Literal["float", "base64"] | None = None  # Jina's name for it
    dimensions: Dimensions | None = None
    normalized: Literal[True] | None = None  # all vectors are
    truncate: bool | None = None


async def embeddings(front: Front, request: Request, body: Body) -> Response:
    asked, options = await front.parsed(parse_object, _read, request, body)
    answer = await asked.embed(front.inference, options.dimensions)
    return await front.rendered(_rendered, answer, asked, options)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> tuple[Mixed, _Options]:
    name, items = _items(body.fields)
    options = validated(_Options.model_validate, body.fields)
    choices = chosen(request, options.model)
    return mixed(body, items, name, limits, truncate=bool(options.truncate), **choices), options


def _rendered(answer: Embedding, asked: Mixed, options: _Options) -> Response:
    encoding_format = options.encoding_format or options.embedding_type or "float"
    results = asked.results(answer)
    data = [
        {"object": "embedding", "index": index} | vector_fields(result.vector, encoding_format, "float32")
        for index, result in enumerate(results)
    ]
    tokens = sum(result.tokens for result in results)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return shaped({"object": "list", "data": data, "model": answer.model, "usage": usage}, answer)


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


def _items(fields: dict[str, Any]) -> tuple[str, list[Item]]:
    asked, messages = fields.pop("input", None), fields.pop("messages", None)
    if (asked is None) == (messages is None):
        raise InvalidInput(
            "send `input`, a text or a list of texts and images, or `messages`; one of the two."
        )
    if messages is not None:
        return "messages", [_of_messages(messages)]
    if isinstance(asked, list) and asked and isinstance(asked[0], int | list):
        raise InvalidInput(
            "input holds token ids, of a tokenizer that is not this model's: send texts. With langchain_openai, "
            "set OpenAIEmbeddings(check_embedding_ctx_length=False)."
        )
    values = listed(asked, "input") if isinstance(asked, list) else [asked]
    are_images = fields.get("modality") == "image"
    return "input", [item(value, f"input[{i}]", are_images=are_images) for i, value in enumerate(values)]


def _of_messages(messages: object) -> Item:
    parts: list[tuple[str, object]] = []
    for i, message in enumerate(listed(messages, "messages")):
        if len(parts) > MAX_ITEMS:
            break  # `only_item` refuses far fewer
        content = message.get("content") if isinstance(message, dict) else None
        name = f"messages[{i}].content"
        if isinstance(content, str):
            parts.append((name, {"text": content}))
        else:
            parts += [(f"{name}[{k}]", part) for k, part in enumerate(listed(content, name))]
    return only_item(parts, "messages")

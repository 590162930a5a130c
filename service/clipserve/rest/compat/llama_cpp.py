"""POST /embeddings and GET /props of llama.cpp's server, as Frigate asks them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from clipserve.api.answers import Embeddings
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, listed
from clipserve.rest.compat.shared import Options, adapter_router, example_of, shaped
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import json_response
from clipserve.rest.validating import validated

router = adapter_router()

# It stands in a prompt where an image belongs. llama.cpp makes a new one at each start; ours stays, so that no
# client has an old one.
MARKER = "<__media__>"


class LlamaPrompt(BaseModel):
    """A text, or an image, whose text is only the media marker of `GET /props`."""

    prompt_string: str
    multimodal_data: Annotated[list[str], Field(max_length=1)] | None = None


class LlamaEmbedRequest(Options):
    """`embd_normalize`: 2 is unit length, which vectors always have."""

    content: str | list[str | LlamaPrompt]
    embd_normalize: Literal[2] | None = None


_Asked = Asked[EmbedRequest, LlamaEmbedRequest]


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    content = fields.get("content")
    if content is None:
        raise InvalidInput("send `content`. `input` belongs to OpenAI's API: send it to /v1/embeddings.")
    listed(content if isinstance(content, list) else [content], "content")
    options = validated(LlamaEmbedRequest, fields)
    prompts = options.content if isinstance(options.content, list) else [options.content]
    items = [_item(prompt, f"content[{i}]") for i, prompt in enumerate(prompts)]
    # llama.cpp refuses a text that is too long too.
    return asked_for(request, limits, items, options, truncate=False)


def _item(prompt: str | LlamaPrompt, name: str) -> Item:
    if isinstance(prompt, str):
        return Item(prompt, name)
    if not prompt.multimodal_data:
        return Item(prompt.prompt_string, name)
    if prompt.prompt_string.replace(MARKER, "", 1).strip():
        raise InvalidInput(
            f"{name}.prompt_string must be only the media marker of GET /props, {MARKER}, beside an image: "
            "the model embeds a text and an image alone."
        )
    return Item(prompt.multimodal_data[0], name, is_image=True)


@router.post(
    "/embeddings",
    summary="Return vectors of texts and images in the order of `content`, as llama.cpp's clients expect.",
    openapi_extra=example_of(
        {"content": ["a photo of a cat", {"prompt_string": MARKER, "multimodal_data": ["$png"]}]}
    ),
)
async def llama_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    return await asked.answered(request, _rendered)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    # A list of one vector each, as of a model that pools.
    results = enumerate(asked.results(answer))
    return shaped([{"index": i, "embedding": [result.embedding]} for i, result in results], answer)


@router.get("/props", summary="Return the first model, and the marker that stands for an image in a prompt.")
async def llama_props(request: Request) -> Response:
    first = service_of(request).inference.names[0]
    modalities = {"vision": True, "audio": False}
    return json_response({"model_alias": first, "modalities": modalities, "media_marker": MARKER})

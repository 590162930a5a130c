"""POST /embeddings and GET /props of llama.cpp's server, as Frigate asks them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.responses import Response

from clipserve.api.answers import Embeddings
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import Asked, Item, asked_for, listed
from clipserve.rest.compat.openai import OpenAIError
from clipserve.rest.compat.shared import TAGS, EncodedImage, JsonAnswer, Options, Text, shaped
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import json_response

router = APIRouter(tags=[*TAGS])

# It stands in a prompt where an image belongs. llama.cpp makes a new one at each start; ours stays, so that no
# client has an old one.
MARKER = "<__media__>"
_IMAGES = {"multimodal_data": {"type": "array", "minItems": 1}}
_BESIDE_IMAGE: Any = {
    "if": {"required": [*_IMAGES], "properties": _IMAGES},
    "then": {"properties": {"prompt_string": {"enum": ["", MARKER]}}},
}


class LlamaPrompt(BaseModel):
    """A text, or an image, whose text is only the media marker of `GET /props`."""

    model_config = ConfigDict(json_schema_extra=_BESIDE_IMAGE)

    prompt_string: Text
    multimodal_data: Annotated[list[EncodedImage], Field(max_length=1)] | None = None


class LlamaEmbedRequest(Options):
    """Other fields are ignored."""

    content: Annotated[Text | list[Text | LlamaPrompt], Field(json_schema_extra={"minItems": 1})]
    embd_normalize: Annotated[Literal[2] | None, Field(description="vectors always have unit length")] = None


_Asked = Asked[EmbedRequest, LlamaEmbedRequest]


class LlamaEmbedding(JsonAnswer):
    """A position in `content`, and a list of one vector, as of a model that pools."""

    index: int
    embedding: list[list[float]]


class LlamaEmbeddings(RootModel[list[LlamaEmbedding]]):
    """In the order of `content`."""


class LlamaProps(JsonAnswer):
    model_alias: str
    modalities: dict[str, bool]
    media_marker: str


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    content = body.fields.get("content")
    if content is None:
        raise InvalidInput("send `content`. `input` belongs to OpenAI's API: send it to /v1/embeddings.")
    listed(content if isinstance(content, list) else [content], "content")
    options = LlamaEmbedRequest.of(body.fields)
    prompts = options.content if isinstance(options.content, list) else [options.content]
    items = [_item(prompt, f"content[{i}]") for i, prompt in enumerate(prompts)]
    # llama.cpp refuses a text that is too long too.
    return asked_for(body, request, limits, items, options, truncate=False)


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
    response_model=LlamaEmbeddings,
    responses=failures(images=True, error=OpenAIError) | OF_FINGERPRINT,
    openapi_extra=body_of(
        LlamaEmbedRequest,
        {"content": ["a photo of a cat", {"prompt_string": MARKER, "multimodal_data": ["$png"]}]},
    ),
)
async def llama_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    return await service.rendered(_rendered, await asked.embed(service.inference, None), asked)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    results = asked.results(answer)
    shown = [{"index": i, "embedding": [result.embedding]} for i, result in enumerate(results)]
    return shaped(shown, answer)


@router.get(
    "/props",
    summary="Return the first model, and the marker that stands for an image in a prompt.",
    response_model=LlamaProps,
    responses=failures(),
)
async def llama_props(request: Request) -> Response:
    first = service_of(request).inference.names[0]
    modalities = {"vision": True, "audio": False}
    return json_response({"model_alias": first, "modalities": modalities, "media_marker": MARKER})

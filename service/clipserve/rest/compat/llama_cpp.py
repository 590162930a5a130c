"""POST /embeddings and GET /props of llama.cpp's server, as Frigate asks them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.limits import RequestLimits
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.errors import InvalidInput
from clipserve.rest.compat.items import EncodedItem, Item, Mixed, listed, mixed
from clipserve.rest.compat.openai import OpenAIError
from clipserve.rest.compat.shared import OF_FINGERPRINT, EncodedImage, Options, Text, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.rendering import json_response
from clipserve.rest.request import Request
from clipserve.rest.uploads import parse_object

# It stands in a prompt where an image belongs. llama.cpp makes a new one at each start; ours stays, so that no
# client has an old one.
MARKER = "<__media__>"
_PROPS = {"model_alias": "demo", "modalities": {"vision": True, "audio": False}, "media_marker": MARKER}

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


class _Options(Options):
    """Other fields are ignored."""

    content: Annotated[Text | list[Text | LlamaPrompt], Field(json_schema_extra={"minItems": 1})]
    embd_normalize: Annotated[Literal[2] | None, Field(description="vectors always have unit length")] = None


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


async def llama_embeddings(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    answer = await asked.embed(front.inference)
    return await front.rendered(_rendered, answer, asked)


async def llama_props(front: Front, _: Request, __: Body) -> Response:
    first, *_others = await front.inference.models()
    return json_response(_PROPS | {"model_alias": first.manifest.name})


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> Mixed[_Options]:
    content = body.fields.get("content")
    if content is None:
        raise InvalidInput("send `content`. `input` belongs to OpenAI's API: send it to /v1/embeddings.")
    listed(content if isinstance(content, list) else [content], "content")
    options = _Options.of(body.fields)
    prompts = options.content if isinstance(options.content, list) else [options.content]
    items = [_item(prompt, f"content[{i}]") for i, prompt in enumerate(prompts)]
    # llama.cpp refuses a text that is too long too.
    return mixed(body, request, limits, "content", items, options, truncate=False)


def _item(prompt: str | LlamaPrompt, name: str) -> Item:
    if isinstance(prompt, str):
        return prompt
    if not prompt.multimodal_data:
        return prompt.prompt_string
    if prompt.prompt_string.replace(MARKER, "", 1).strip():
        raise InvalidInput(
            f"{name}.prompt_string must be only the media marker of GET /props, {MARKER}, beside an image: "
            "the model embeds a text and an image alone."
        )
    return EncodedItem(prompt.multimodal_data[0])


def _rendered(answer: Embedding, asked: Mixed[_Options]) -> Response:
    results = asked.results(answer)
    shown = [{"index": i, "embedding": [result.vector]} for i, result in enumerate(results)]
    return shaped(shown, answer, asked.warning())


OPERATIONS = [
    Operation(
        "POST /embeddings",
        llama_embeddings,
        "Return vectors of texts and images in the order of `content`, as clients of llama.cpp's server expect.",
        Answered("Vectors.", LlamaEmbeddings, [{"index": 0, "embedding": [[0.8, 0.6]]}], OF_FINGERPRINT),
        kind=_Options,
        example={"content": ["a photo of a cat", {"prompt_string": MARKER, "multimodal_data": ["$png"]}]},
        error=OpenAIError,
    ),
    Operation(
        "GET /props",
        llama_props,
        "Return the first model, and the marker that stands for an image in a prompt.",
        Answered("The model.", LlamaProps, _PROPS),
    ),
]

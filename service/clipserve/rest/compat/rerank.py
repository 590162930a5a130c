"""Rerank APIs of Jina, Cohere, vLLM and Text Embeddings Inference: a face of POST /similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    WithJsonSchema,
)
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.fields import ModelName, whole
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import SimilarityRequest
from clipserve.application.answers import Similarities
from clipserve.application.body import Body
from clipserve.errors import ClipError
from clipserve.rest.compat.items import (
    OF_FINGERPRINT,
    Item,
    Placed,
    are_images,
    chosen,
    decoded,
    encoded,
    item,
    listed,
    shaped,
)
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.request import Request
from clipserve.rest.schemas import named
from clipserve.rest.uploads import parse_object, validated

_Item = Annotated[Any, WithJsonSchema(named("OpenAIItem"))]


def _given(field: str, absent: str) -> dict[str, Any]:
    items = {"type": "array", "items": named("OpenAIItem"), "minItems": 1, "maxItems": "$max_items"}
    return {"properties": {field: items, absent: {"type": "null"}}, "required": [field]}


def _no_logits(raw_scores: bool | None) -> bool | None:
    if raw_scores:
        raise ValueError("scores are cosines here; POST /similarity has the model's logits")
    return raw_scores


class _Options(BaseModel):
    """`texts` in place of `documents` ask for the answer of Text Embeddings Inference. Other fields are ignored."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"oneOf": [_given("documents", "texts"), _given("texts", "documents")]}
    )

    query: _Item
    model: ModelName | None = None
    top_n: Annotated[
        int | None,
        Field(ge=1, description="return the best so many; default: all, best first"),
        BeforeValidator(whole),
    ] = None
    return_documents: Annotated[
        bool | None,
        Field(
            description="return the texts of documents too; with `texts`, the field is `return_text`",
            validation_alias=AliasChoices("return_documents", "return_text"),
        ),
    ] = None
    raw_scores: Annotated[
        bool | None,
        AfterValidator(_no_logits),
        Field(description="scores are cosines: only false", json_schema_extra={"enum": [False, None]}),
    ] = None
    truncate: Annotated[
        bool | None, Field(description="cut texts of too many tokens; false refuses them")
    ] = True


class RerankedDocument(JsonAnswer):
    index: Annotated[int, Field(description="position in `documents`")]
    relevance_score: Annotated[float, Field(description="the cosine with the query")]
    document: (
        Annotated[dict[str, str], Field(description="its text, if `return_documents` asks for it")] | None
    ) = None


class RerankedDocuments(JsonAnswer):
    id: Annotated[str, Field(description="the request id")]
    model: str
    results: list[RerankedDocument]


class RerankedText(JsonAnswer):
    index: int
    score: float
    text: str | None = None


class Reranked(RootModel[RerankedDocuments | list[RerankedText]]):
    """Best first; a list of `RerankedText` if the request has `texts`."""


@dataclass(frozen=True)
class _Query(Placed):
    """A query, which is the first of the request's items, and its documents."""

    documents: Sequence[Item]
    asked: SimilarityRequest
    options: _Options

    def place(self, index: int) -> str:
        return super().place(index - 1) if index else "query"


async def rerank(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    with asked.places():
        answer = await front.inference.similarity(asked.asked)
    return await front.rendered(_rendered, answer, asked, request.id)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Query:
    fields = body.fields
    name = "documents" if fields.get("texts") is None else "texts"
    values = listed(fields.pop(name, None), name)
    query, documents = (
        item(fields.get("query"), "query"),
        [item(v, f"{name}[{i}]") for i, v in enumerate(values)],
    )
    options = validated(_Options.model_validate, fields)
    body.check_images(encoded([query, *documents]))
    asked = SimilarityRequest(
        *decoded([query]),
        *decoded(documents),
        truncate=options.truncate is not False,
        **chosen(request, options.model),
    )
    placed = _Query(are_images([query, *documents]), name, documents, asked, options)
    with placed.places():
        asked.check(limits)
    return placed


def _rendered(answer: Similarities, asked: _Query, request_id: str) -> Response:
    (scores,) = answer.results
    if isinstance(scores, ClipError):  # the only one of its request: `Inference.similarity` has raised it
        raise scores
    # Scores of images come first: back into the order of the caller's list.
    values = np.empty_like(scores.cosine)
    values[np.argsort(np.logical_not(asked.are_images[1:]), kind="stable")] = scores.cosine
    of_texts, rows = asked.name == "texts", []
    for index in np.argsort(-values, kind="stable")[: asked.options.top_n].tolist():
        row = {"index": index, "score" if of_texts else "relevance_score": values[index]}
        document = asked.documents[index]
        if asked.options.return_documents and isinstance(document, str):
            row |= {"text": document} if of_texts else {"document": {"text": document}}
        rows.append(row)
    return shaped(rows if of_texts else {"id": request_id, "model": answer.model, "results": rows}, answer)


_ANSWER = Answered(
    "The documents, best first.",
    Reranked,
    {
        "id": "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987",
        "model": "demo",
        "results": [{"index": 1, "relevance_score": 0.31}, {"index": 0, "relevance_score": 0.12}],
    },
    OF_FINGERPRINT,
)
OPERATIONS = [
    Operation(
        f"POST {path}",
        rerank,
        "Sort texts and images by how well they fit a query, which is a text or an image.",
        _ANSWER,
        kind=_Options,
        examples={
            "images by a text": {
                "query": "a photo of a cat",
                "documents": [{"image": "$png"}, {"text": "a dog in the snow"}],
            },
            "texts": {"query": "a cat", "texts": ["a kitten", "a car"], "return_text": True},
        },
        id=name,
    )
    for path, name in (("/rerank", "rerank"), ("/v1/rerank", "rerank_v1"), ("/v2/rerank", "rerank_v2"))
]

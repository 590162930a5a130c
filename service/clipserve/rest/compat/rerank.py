"""Rerank APIs of Jina, Cohere, vLLM and Text Embeddings Inference: a face of POST /similarity."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import Similarities
from clipserve.api.fields import CutTexts, whole
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import SimilarityRequest
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import Asked, decoded, encoded, item, items_of
from clipserve.rest.compat.shared import ITEM, TAGS, JsonAnswer, Options, chosen, list_of, one_of, shaped
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of

router = APIRouter(tags=[*TAGS])


class RerankRequest(Options):
    """Scores are cosines. `texts` ask for the answer of Text Embeddings Inference. Other fields are ignored."""

    model_config = one_of(documents=list_of(ITEM), texts=list_of(ITEM))

    query: Annotated[Any, WithJsonSchema(ITEM)]
    top_n: Annotated[int, Field(ge=1), BeforeValidator(whole)] | None = None
    return_documents: bool | None = None
    return_text: bool | None = None
    raw_scores: Annotated[bool | None, Field(json_schema_extra={"enum": [False, None]})] = None
    truncate: CutTexts | None = True


_Asked = Asked[SimilarityRequest, RerankRequest]


class RerankedDocument(JsonAnswer):
    """A document's position in the request, its cosine with the query and, where asked for, its text."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankedDocuments(JsonAnswer):
    id: str
    model: str
    results: list[RerankedDocument]


class RerankedText(JsonAnswer):
    index: int
    score: float
    text: str | None = None


class Reranked(RootModel[RerankedDocuments | list[RerankedText]]):
    """Best first; a list of `RerankedText` if the request has `texts`."""


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    name = "documents" if body.fields.get("texts") is None else "texts"
    documents = items_of(body.fields.pop(name, None), name)
    query = item(body.fields.get("query"), "query")
    options = RerankRequest.of(body.fields)
    if options.raw_scores:
        raise InvalidInput("raw_scores: scores are cosines here; POST /similarity has the model's logits.")
    body.check_images(encoded([query, *documents]))
    cut, choice = options.truncate is not False, chosen(request, options.model)
    asked = SimilarityRequest(*decoded([query]), *decoded(documents), truncate=cut, **choice)
    return Asked([query, *documents], asked, options).checked(limits)


async def rerank(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    with asked.names():
        answer = await service.inference.similarity(asked.request)
    return await service.rendered(_rendered, answer, asked, request.state.id)


for _path, _name in (("/rerank", "rerank"), ("/v1/rerank", "rerank_v1"), ("/v2/rerank", "rerank_v2")):
    router.add_api_route(
        _path,
        rerank,
        methods=["POST"],
        name=_name,
        summary="Sort texts and images by how well they fit a query, which is a text or an image.",
        response_model=Reranked,
        responses=failures(images=True) | OF_FINGERPRINT,
        openapi_extra=body_of(
            RerankRequest,
            {"query": "a cat", "documents": [{"image": "$png"}, {"text": "a dog"}]},
            {"query": "a cat", "texts": ["a kitten", "a car"], "return_text": True},
        ),
    )


def _rendered(answer: Similarities, asked: _Asked, request_id: str) -> Response:
    (scores,) = answer.results
    if isinstance(scores, ClipError):  # the only one of its request: `Inference.similarity` has raised it
        raise scores
    _, *documents = asked.items
    cosines, results = np.empty_like(scores.cosine), []
    cosines[np.argsort([not each.is_image for each in documents], kind="stable")] = scores.cosine
    of_texts = documents[0].name.startswith("texts")
    with_texts = asked.options.return_documents or asked.options.return_text
    for index in np.argsort(-cosines, kind="stable")[: asked.options.top_n].tolist():
        result = {"index": index, "score" if of_texts else "relevance_score": cosines[index]}
        if with_texts and not documents[index].is_image:
            text = documents[index].content
            result |= {"text": text} if of_texts else {"document": {"text": text}}
        results.append(result)
    shown = results if of_texts else {"id": request_id, "model": answer.model, "results": results}
    return shaped(shown, answer)

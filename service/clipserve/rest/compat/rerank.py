"""Rerank APIs of Jina, Cohere and vLLM: a face of POST /similarity."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import Depends, Request
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from clipserve.api.answers import Similarities
from clipserve.api.fields import whole
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import SimilarityRequest
from clipserve.application.shared import rendered
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import Asked, decoded, item, items_of
from clipserve.rest.compat.shared import Options, adapter_router, chosen, example_of, shaped
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.validating import validated

router = adapter_router()


class RerankRequest(Options):
    """All but the items."""

    top_n: Annotated[int, Field(ge=1), BeforeValidator(whole)] | None = None
    return_documents: bool | None = None
    truncate: bool | None = True


_Asked = Asked[SimilarityRequest, RerankRequest]


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    if not (documents := items_of(fields.get("documents"), "documents")):
        raise InvalidInput("documents is empty: send at least one.")
    query = item(fields.get("query"), "query")
    options = validated(RerankRequest, fields)
    cut, choice = options.truncate is not False, chosen(request, options.model)
    asked = SimilarityRequest(*decoded([query]), *decoded(documents), truncate=cut, **choice)
    return Asked([query, *documents], asked, options).checked(limits)


async def rerank(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    with asked.names():
        answer = await service_of(request).inference.similarity(asked.request)
    return await rendered(_rendered, answer, asked, request.state.id)


for _path, _name in (("/rerank", "rerank"), ("/v1/rerank", "rerank_v1"), ("/v2/rerank", "rerank_v2")):
    router.add_api_route(
        _path,
        rerank,
        methods=["POST"],
        name=_name,
        summary="Sort texts and images by their cosines with a query, which is a text or an image.",
        openapi_extra=example_of({"query": "a cat", "documents": [{"image": "$png"}, {"text": "a dog"}]}),
    )


def _rendered(answer: Similarities, asked: _Asked, request_id: str) -> Response:
    (scores,) = answer.results
    assert not isinstance(scores, ClipError)  # the error of the only query is the request's
    _, *documents = asked.items
    cosines, results = np.empty_like(scores.cosine), []
    cosines[np.argsort([not each.is_image for each in documents], kind="stable")] = scores.cosine
    for index in np.argsort(-cosines, kind="stable")[: asked.options.top_n].tolist():
        result = {"index": index, "relevance_score": cosines[index]}
        if asked.options.return_documents and not documents[index].is_image:
            result |= {"document": {"text": documents[index].content}}
        results.append(result)
    return shaped({"id": request_id, "model": answer.model, "results": results}, answer)

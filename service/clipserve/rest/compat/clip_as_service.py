"""POST /post of clip-as-service: Jina's documents with embeddings, or with ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import SimilarityRequest
from clipserve.application.answers import Embedding, Similarities, Similarity
from clipserve.application.body import Body
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import (
    EncodedItem,
    Item,
    Mixed,
    are_images,
    decoded,
    encoded,
    items_of,
    listed,
    mixed,
    rows_of,
)
from clipserve.rest.compat.shared import OF_FINGERPRINT, Options, chosen, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.request import Request
from clipserve.rest.schemas import refer
from clipserve.rest.uploads import parse_object

Document = dict[str, Any]


class _Encode(NamedTuple):
    """Documents to embed."""

    asked: Mixed[Options]
    documents: list[Document]


class _Ranked(NamedTuple):
    """A document to rank the matches of: its row among the answers, and the columns of its matches."""

    document: Document
    row: int
    matches: list[Document]
    columns: list[int]


class _Rank(NamedTuple):
    """Documents to rank the matches of."""

    asked: SimilarityRequest
    documents: list[_Ranked]


async def clip_as_service_post(front: Front, request: Request, body: Body) -> Response:
    work = await front.parsed(parse_object, _read, request, body)
    if isinstance(work, _Encode):
        answer = await work.asked.embed(front.inference)
        return await front.rendered(_embedded, answer, work)
    compared = await front.inference.similarity(work.asked)
    return await front.rendered(_ranked, compared, work)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Encode | _Rank:
    """What is asked. The body names the endpoint."""
    data = body.fields.pop("data", None)
    documents = listed(data.get("docs") if isinstance(data, dict) else data, "data")
    endpoint, model = _endpoint(body.fields)
    items = items_of(documents, "data", _item)
    # Keep only the returned fields of documents, not their images.
    shown = [_shown(document) for document in documents]
    # Like the original, cut long texts; their documents are tagged.
    if endpoint != "rank":
        options = Options(model=model)
        return _Encode(mixed(body, request, limits, "data", items, options, truncate=True), shown)
    lists = [listed(document.get("matches"), f"data[{i}].matches") for i, document in enumerate(documents)]
    listed([match for of_document in lists for match in of_document], "matches of all documents")
    matches = [
        match
        for i, of_document in enumerate(lists)
        for match in items_of(of_document, f"data[{i}].matches", _item)
    ]
    body.check_images(encoded([*items, *matches]))
    to_images, to_texts = decoded(matches)
    asked = SimilarityRequest(
        *decoded(items), to_images=to_images, to_texts=to_texts, truncate=True, **chosen(request, model)
    )
    asked.check(limits)
    columns = iter(rows_of(are_images(matches)))
    ranked = [
        _Ranked(document, row, [_shown(match) for match in of_document], [next(columns) for _ in of_document])
        for document, row, of_document in zip(shown, rows_of(are_images(items)), lists, strict=True)
    ]
    return _Rank(asked, ranked)


def _endpoint(fields: Document) -> tuple[str, str | None]:
    """`encode` or `rank`, and the model that is named behind it or in the parameters."""
    given = next(
        (fields[name] for name in ("execEndpoint", "exec_endpoint") if fields.get(name) is not None), "/"
    )
    parameters = {} if fields.get("parameters") is None else fields["parameters"]
    if isinstance(given, str) and isinstance(parameters, dict):
        endpoint, _, model = given.removeprefix("/").partition("/")
        named = model or parameters.get("model_name")
        if endpoint in ("", "encode", "rank") and given and isinstance(named, str | None):
            return endpoint or "encode", named
    raise InvalidInput(
        "execEndpoint must be /, /encode or /rank, the last two with or without /MODEL behind."
    )


def _item(document: object, name: str) -> Item:
    if isinstance(document, dict):
        if isinstance(text := document.get("text"), str) and text:
            return text
        image = document.get("blob") or document.get("uri")
        if isinstance(image, str):
            return EncodedItem(image)
    raise InvalidInput(f"{name} must be a document with a `text`, or with an image as base64 in `blob`.")


def _embedded(answer: Embedding, work: _Encode) -> Response:
    data = [
        document | {"embedding": result.vector} | ({"tags": {"truncated": True}} if result.truncated else {})
        for document, result in zip(work.documents, work.asked.results(answer), strict=True)
    ]
    return shaped({"data": data}, answer)


def _ranked(answer: Similarities, work: _Rank) -> Response:
    data = []
    for ranked in work.documents:
        result = answer.results[ranked.row]
        if isinstance(result, ClipError):  # these documents have no place for an error
            raise result
        of_matches = Similarity(result.cosine[ranked.columns], result.logit[ranked.columns])
        data.append(ranked.document | {"matches": _scored(ranked.matches, of_matches)})
    return shaped({"data": data}, answer)


def _scored(matches: Sequence[Document], similarity: Similarity) -> list[Document]:
    """Best first, with the scores of the original: softmax over the matches of one document, and cosine."""
    raised = np.exp(similarity.logit - similarity.logit.max(initial=-np.inf))
    scores = raised / raised.sum()
    return [
        matches[k]
        | {
            "scores": {
                "clip_score": {"value": float(scores[k]), "op_name": "softmax"},
                "clip_score_cosine": {"value": float(similarity.cosine[k]), "op_name": "cosine"},
            }
        }
        for k in np.argsort(-similarity.logit, kind="stable")
    ]


def _shown(document: Document) -> Document:
    """What is given back of a document: not its image."""
    return {name: document[name] for name in ("id", "text") if isinstance(document.get(name) or None, str)}


class JinaScore(JsonAnswer):
    value: float
    op_name: str


class JinaDocument(JsonAnswer):
    """The document as it was sent, without its image. A match has `scores`: `clip_score`, `clip_score_cosine`."""

    id: str | None = None
    text: str | None = None
    tags: Annotated[dict[str, bool] | None, Field(description="`truncated`: the text was cut")] = None
    embedding: list[float] | None = None
    scores: dict[str, JinaScore] | None = None
    matches: Annotated[list[JinaDocument] | None, Field(description="best first")] = None


class JinaDocuments(JsonAnswer):
    data: list[JinaDocument]


OPERATIONS = [
    Operation(
        "POST /post",
        clip_as_service_post,
        "Return Jina's documents with embeddings (`/`, `/encode`), or with ranked matches (`/rank`).",
        Answered(
            "The documents.",
            JinaDocuments,
            {"data": [{"id": "a", "text": "a photo of a cat", "embedding": [0.8, 0.6]}]},
            OF_FINGERPRINT,
        ),
        body={
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "parameters": {
                            "type": ["object", "null"],
                            "properties": {"model_name": {"enum": "$models_or_null"}},
                            "description": "ignored, except `model_name`",
                        }
                    },
                    "required": ["data"],
                    "oneOf": [
                        {
                            "properties": {
                                "data": refer("schemas", "JinaInputs"),
                                "execEndpoint": {"enum": "$encode_endpoints"},
                            }
                        },
                        {
                            "properties": {
                                "data": refer("schemas", "JinaInputsWithMatches"),
                                "execEndpoint": {"enum": "$rank_endpoints"},
                            },
                            "required": ["execEndpoint"],
                        },
                    ],
                },
                "examples": {
                    "embed": {
                        "value": {
                            "data": [{"id": "a", "text": "a photo of a cat"}, {"blob": "$png"}],
                            "execEndpoint": "/",
                        }
                    },
                    "rank": {
                        "value": {
                            "data": [{"blob": "$png", "matches": [{"text": "a cat"}, {"text": "a dog"}]}],
                            "execEndpoint": "/rank",
                        }
                    },
                },
            }
        },
    )
]

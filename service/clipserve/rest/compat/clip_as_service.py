"""POST /post of clip-as-service: Jina's documents with embeddings, or with ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding, Similarities, Similarity, is_short
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import SimilarityRequest
from clipserve.concurrency import SideThread
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import (
    EncodedItem,
    Item,
    Mixed,
    Result,
    chosen,
    decoded,
    listed,
    mixed,
    shaped,
)
from clipserve.rest.json_body import JsonObject
from clipserve.rest.uploads import Uploads

Document = dict[str, Any]


@dataclass(frozen=True)
class _Ranking:
    """A request to rank: its documents, each with its row among the answers, and its matches with their columns."""

    asked: SimilarityRequest
    documents: Sequence[Document]
    rows: Sequence[int]
    matches: Sequence[Sequence[Document]]
    columns: Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Encoding:
    asked: Mixed
    documents: Sequence[Document]


def add_clip_as_service(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """Add its route. The body names the endpoint."""

    @app.router.route("/post", methods=["POST"])
    async def post(request: Request) -> Response:
        posted = await uploads.read_json(request, lambda body: _read(request, body, inference.limits))
        if isinstance(posted, _Encoding):
            answer, results = await posted.asked.embed(inference)
            return await side.call(_embedded, posted.documents, answer, results, short=is_short(answer))
        ranked = await inference.similarity(posted.asked)
        return await side.call(_ranked, posted, ranked, short=is_short(ranked))


def _read(request: Request, body: JsonObject, limits: RequestLimits) -> _Encoding | _Ranking:
    data = body.fields.pop("data", None)
    documents = listed(data.get("docs") if isinstance(data, dict) else data, "data")
    endpoint, model = _endpoint(body.fields)
    items = [_item(document, f"data[{i}]") for i, document in enumerate(documents)]
    # Like the original, cut long texts; their documents are tagged.
    choices = {"truncate": True, **chosen(request, model)}
    # Keep only the returned fields of documents, not their images.
    shown = [_shown(document) for document in documents]
    if endpoint != "rank":
        return _Encoding(mixed(body, items, "data", limits, **choices), shown)
    lists = [listed(each.get("matches"), f"data[{i}].matches") for i, each in enumerate(documents)]
    listed([match for own in lists for match in own], "matches of all documents")
    matches = [
        _item(match, f"data[{i}].matches[{k}]") for i, own in enumerate(lists) for k, match in enumerate(own)
    ]
    body.check_images([each.text for each in (*items, *matches) if isinstance(each, EncodedItem)])
    to_images, to_texts = decoded(matches)
    asked = SimilarityRequest(*decoded(items), to_images=to_images, to_texts=to_texts, **choices)
    asked.check(limits)
    columns = iter(_positions(matches))
    own_columns = [[next(columns) for _ in own] for own in lists]
    shown_matches = [[_shown(match) for match in own] for own in lists]
    return _Ranking(asked, shown, _positions(items), shown_matches, own_columns)


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


def _embedded(documents: Sequence[Document], answer: Embedding, results: Sequence[Result]) -> Response:
    data = [
        document | {"embedding": result.vector} | ({"tags": {"truncated": True}} if result.truncated else {})
        for document, result in zip(documents, results, strict=True)
    ]
    return shaped({"data": data}, answer)


def _ranked(ranking: _Ranking, answer: Similarities) -> Response:
    data = []
    documents = zip(ranking.documents, ranking.rows, ranking.matches, ranking.columns, strict=True)
    for document, row, matches, columns in documents:
        result = answer.results[row]
        if isinstance(result, ClipError):  # these documents have no place for an error
            raise result
        scored = _scored(matches, Similarity(result.cosine[columns], result.logit[columns]))
        data.append(document | {"matches": scored})
    return shaped({"data": data}, answer)


def _positions(items: Sequence[Item]) -> list[int]:
    """Where each item is among the core's: images first, then texts."""
    are_texts = [isinstance(each, str) for each in items]
    return [int(place) for place in np.argsort(np.argsort(are_texts, kind="stable"))]


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
    given = {name: document.get(name) for name in ("id", "text")}
    return {name: value for name, value in given.items() if value and isinstance(value, str)}

"""POST /post of clip-as-service: Jina's documents with embeddings, or with ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding, Similarities, Similarity
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import SimilarityRequest
from clipserve.application.shared import Question
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import (
    EncodedItem,
    Item,
    Mixed,
    chosen,
    decoded,
    listed,
    mixed,
    shaped,
)
from clipserve.rest.json_body import JsonObject

Document = dict[str, Any]


class _Ranking(NamedTuple):
    """A document to rank the matches of: its row among the answers, and the columns of its matches."""

    document: Document
    row: int
    matches: list[Document]
    columns: list[int]


def read(request: Request, body: JsonObject, limits: RequestLimits) -> Question[Any, Response]:
    """What is asked. The body names the endpoint."""
    data = body.fields.pop("data", None)
    documents = listed(data.get("docs") if isinstance(data, dict) else data, "data")
    endpoint, model = _endpoint(body.fields)
    items = [_item(document, f"data[{i}]") for i, document in enumerate(documents)]
    # Like the original, cut long texts; their documents are tagged.
    choices = {"truncate": True, **chosen(request, model)}
    # Keep only the returned fields of documents, not their images.
    shown = [_shown(document) for document in documents]
    if endpoint != "rank":
        asked = mixed(body, items, "data", limits, **choices)
        return Question(asked.embed, partial(_embedded, shown, asked))
    lists = [listed(each.get("matches"), f"data[{i}].matches") for i, each in enumerate(documents)]
    listed([match for own in lists for match in own], "matches of all documents")
    matches = [
        _item(match, f"data[{i}].matches[{k}]") for i, own in enumerate(lists) for k, match in enumerate(own)
    ]
    body.check_images([each.text for each in (*items, *matches) if isinstance(each, EncodedItem)])
    to_images, to_texts = decoded(matches)
    compared = SimilarityRequest(*decoded(items), to_images=to_images, to_texts=to_texts, **choices)
    compared.check(limits)
    columns = iter(_positions(matches))
    rankings = [
        _Ranking(document, row, [_shown(match) for match in own], [next(columns) for _ in own])
        for document, row, own in zip(shown, _positions(items), lists, strict=True)
    ]
    return Question(lambda of: of.similarity(compared), partial(_ranked, rankings))


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


def _embedded(documents: Sequence[Document], asked: Mixed, answer: Embedding) -> Response:
    data = [
        document | {"embedding": result.vector} | ({"tags": {"truncated": True}} if result.truncated else {})
        for document, result in zip(documents, asked.results(answer), strict=True)
    ]
    return shaped({"data": data}, answer)


def _ranked(rankings: Sequence[_Ranking], answer: Similarities) -> Response:
    data = []
    for each in rankings:
        result = answer.results[each.row]
        if isinstance(result, ClipError):  # these documents have no place for an error
            raise result
        scored = _scored(each.matches, Similarity(result.cosine[each.columns], result.logit[each.columns]))
        data.append(each.document | {"matches": scored})
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

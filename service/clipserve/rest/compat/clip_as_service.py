"""POST /post as clients of clip-as-service know it: Jina's documents with embeddings, or with ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding, Similarities, Similarity, is_short
from clipserve.application.encoder import ImageInput
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import SimilarityRequest
from clipserve.concurrency import SideThread
from clipserve.errors import ClipError, InvalidInput
from clipserve.rest.compat.items import EncodedItem, Item, Mixed, Result, chosen, listed, mixed
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.rendering import json_response
from clipserve.rest.uploads import Uploads

Document = dict[str, Any]


@dataclass(frozen=True)
class _Ranking:
    """A request to rank: its documents, each with its row among the answers, and its matches with their columns."""

    asked: SimilarityRequest
    documents: Sequence[Document]
    rows: Sequence[int]
    matches: Sequence[Sequence[Document]]
    columns: Sequence[int]


@dataclass(frozen=True)
class _Encoding:
    asked: Mixed
    documents: Sequence[Document]


def add_clip_as_service(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """The route of all its endpoints, which are named in the body."""

    @app.router.route("/post", methods=["POST"])
    async def post(request: Request) -> Response:
        def read(body: JsonObject) -> _Encoding | _Ranking:
            return _read(request, body, inference.limits)

        posted = await uploads.read_json(request, read)
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
    # The original cuts long texts as well; here their documents are tagged.
    choices = {"truncate": True, **chosen(request, model)}
    # Of the documents only what is answered is kept, and not their images.
    shown = [_shown(document) for document in documents]
    if endpoint != "rank":
        return _Encoding(mixed(body, items, "data", limits, **choices), shown)
    lists = [listed(each.get("matches"), f"data[{i}].matches") for i, each in enumerate(documents)]
    matches = _matches(lists)
    body.check_images([each.text for each in (*items, *matches) if isinstance(each, EncodedItem)])
    asked = SimilarityRequest(
        _images(items), _texts(items), to_images=_images(matches), to_texts=_texts(matches), **choices
    )
    asked.check(limits)
    shown_matches = [[_shown(match) for match in own] for own in lists]
    return _Ranking(asked, shown, _positions(items), shown_matches, _positions(matches))


def _matches(lists: Sequence[list[Any]]) -> list[Item]:
    """Of all documents, in order."""
    listed([match for own in lists for match in own], "matches of all documents")
    return [
        _item(match, f"data[{i}].matches[{k}]") for i, own in enumerate(lists) for k, match in enumerate(own)
    ]


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


def _images(items: Sequence[Item]) -> list[ImageInput]:
    encoded = [each.text for each in items if isinstance(each, EncodedItem)]
    return [decode_base64(i, text) for i, text in enumerate(encoded)]


def _texts(items: Sequence[Item]) -> list[str]:
    return [each for each in items if isinstance(each, str)]


def _embedded(documents: Sequence[Document], answer: Embedding, results: Sequence[Result]) -> Response:
    data = [
        document | {"embedding": result.vector} | ({"tags": {"truncated": True}} if result.truncated else {})
        for document, result in zip(documents, results, strict=True)
    ]
    return json_response({"data": data}, headers={"X-Model-Fingerprint": answer.fingerprint})


def _ranked(ranking: _Ranking, answer: Similarities) -> Response:
    data, start = [], 0
    for document, row, matches in zip(ranking.documents, ranking.rows, ranking.matches, strict=True):
        result = answer.results[row]
        if isinstance(result, ClipError):  # these documents have no place for one
            raise result
        own = ranking.columns[start : start + len(matches)]
        start += len(own)
        scored = _scored(matches, Similarity(result.cosine[own], result.logit[own]))
        data.append(document | {"matches": scored})
    return json_response({"data": data}, headers={"X-Model-Fingerprint": answer.fingerprint})


def _positions(items: Sequence[Item]) -> list[int]:
    """Where each item is among the core's: images first, then texts."""
    order = sorted(range(len(items)), key=lambda i: isinstance(items[i], str))
    return [position for _, position in sorted(zip(order, range(len(order)), strict=True))]


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

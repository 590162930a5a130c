"""POST /post as clients of clip-as-service know it: Jina's documents with embeddings, or with ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from service.application.answers import Embedding, Similarities, Similarity, is_short
from service.application.encoder import EncodedText, ImageInput
from service.application.inference import Inference
from service.application.requests import RequestLimits, SimilarityRequest
from service.concurrency import SideThread
from service.errors import ClipError, InvalidInput
from service.rest.compat import schemas
from service.rest.compat.items import Encoded, Item, Mixed, Vector, chosen, listed, mixed
from service.rest.documented import NO_TEMPLATES, operation, refer
from service.rest.examples import PNG
from service.rest.json_body import JsonObject, decode_base64
from service.rest.rendering import json_response
from service.rest.uploads import Uploads

Document = dict[str, Any]


class JinaScore(BaseModel):
    value: float
    op_name: str


class JinaDocument(BaseModel):
    """As it was sent, but for images. `scores` are those of a match: `clip_score` and `clip_score_cosine`."""

    id: str | None = None
    text: str | None = None
    tags: dict[str, bool] | None = Field(default=None, description="`truncated`: the text was cut")
    embedding: list[float] | None = None
    scores: dict[str, JinaScore] | None = None
    matches: list[JinaDocument] | None = Field(default=None, description="best first")


class JinaDocuments(BaseModel):
    data: list[JinaDocument]


_EXAMPLE = {"data": [{"id": "a", "text": "a photo of a cat", "embedding": [0.8, 0.6]}]}


@dataclass(frozen=True)
class _Posted:
    """The documents, their items, and where they go. `matches`: for each document, positions in all matches."""

    documents: Sequence[Document]
    asked: Mixed | SimilarityRequest
    items: Sequence[Item] = ()
    matches: Sequence[Item] = ()


def add_clip_as_service(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """The route of all its endpoints, which are named in the body."""
    described = operation("clip_as_service_post", JinaDocuments, _EXAMPLE, NO_TEMPLATES)
    described["responses"][200]["headers"] |= refer("X-Model-Fingerprint")

    @app.post("/post", **described, openapi_extra=_body(inference.limits, inference.names))
    async def post(request: Request) -> Response:
        """Jina's documents with their embeddings (`/`, `/encode`), or with their matches ranked (`/rank`)."""

        def read(body: JsonObject) -> _Posted:
            return _read(request, body, inference.limits)

        posted = await uploads.read_json(request, read)
        if isinstance(posted.asked, Mixed):
            answer, results = await posted.asked.embed(inference)
            return await side.call(_embedded, posted, answer, results, short=is_short(answer))
        ranked = await inference.similarity(posted.asked)
        return await side.call(_ranked, posted, ranked, short=is_short(ranked))


def _read(request: Request, body: JsonObject, limits: RequestLimits) -> _Posted:
    fields = body.fields
    data = fields.pop("data", None)
    documents = listed(data.get("docs") if isinstance(data, dict) else data, "data")
    endpoint, model = _endpoint(fields)
    items = [_item(document, f"data[{i}]") for i, document in enumerate(documents)]
    choice = chosen(request, model)
    if endpoint != "rank":
        # The original cuts long texts as well; here their documents are tagged.
        return _Posted(documents, mixed(body, items, "data", limits, truncate=True, **choice))
    matches = [
        _item(match, f"data[{i}].matches[{k}]")
        for i, document in enumerate(documents)
        for k, match in enumerate(listed(document.get("matches"), f"data[{i}].matches"))
    ]
    listed(matches, "all matches")
    body.check_images([each.text for each in (*items, *matches) if isinstance(each, Encoded)])
    (images, texts), (to_images, to_texts) = _apart(items), _apart(matches)
    asked = SimilarityRequest(images, texts, to_images, to_texts, truncate=True, **choice)
    asked.check(limits)
    return _Posted(documents, asked, items, matches)


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
            return Encoded(image)
    raise InvalidInput(f"{name} must be a document with a `text`, or with an image as base64 in `blob`.")


def _apart(items: Sequence[Item]) -> tuple[list[ImageInput], list[str]]:
    encoded = [each.text for each in items if isinstance(each, Encoded)]
    return [decode_base64(i, text) for i, text in enumerate(encoded)], [
        each for each in items if isinstance(each, str)
    ]


def _embedded(posted: _Posted, answer: Embedding, results: Sequence[Vector | EncodedText]) -> Response:
    data = []
    for document, result in zip(posted.documents, results, strict=True):
        vector = result.vector if isinstance(result, EncodedText) else result
        cut = isinstance(result, EncodedText) and result.truncated
        data.append(_shown(document) | {"embedding": vector} | ({"tags": {"truncated": True}} if cut else {}))
    return json_response({"data": data}, headers={"X-Model-Fingerprint": answer.fingerprint})


def _ranked(posted: _Posted, answer: Similarities) -> Response:
    rows, columns = _positions(posted.items), _positions(posted.matches)
    data, start = [], 0
    for document, row in zip(posted.documents, rows, strict=True):
        result = answer.results[row]
        if isinstance(result, ClipError):  # these documents have no place for one
            raise result
        own = columns[start : start + len(document["matches"])]
        start += len(own)
        matches = _scored(document["matches"], Similarity(result.cosine[own], result.logit[own]))
        data.append(_shown(document) | {"matches": matches})
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
        _shown(matches[k])
        | {
            "scores": {
                "clip_score": {"value": float(scores[k]), "op_name": "softmax"},
                "clip_score_cosine": {"value": float(similarity.cosine[k]), "op_name": "cosine"},
            }
        }
        for k in np.argsort(-similarity.logit, kind="stable")
    ]


def _shown(document: Document) -> Document:
    """A document without its image: nobody needs it back."""
    given = {name: document.get(name) for name in ("id", "text")}
    return {name: value for name, value in given.items() if value and isinstance(value, str)}


def _body(limits: RequestLimits, names: Sequence[str]) -> schemas.Schema:
    plain = _documents(limits, {})
    with_matches = _documents(limits, {"matches": plain})
    parameters = {
        "type": ["object", "null"],
        "properties": {"model_name": {"enum": [*names, None]}},
        "description": "ignored, but for `model_name`",
    }
    encode = ["/", "/encode", *(f"/encode/{name}" for name in names), None]
    rank = ["/rank", *(f"/rank/{name}" for name in names)]
    schema = {
        "type": "object",
        "properties": {"parameters": parameters},
        "required": ["data"],
        "oneOf": [
            {"properties": {"data": plain, "execEndpoint": {"enum": encode}}},
            {
                "properties": {"data": with_matches, "execEndpoint": {"enum": rank}},
                "required": ["execEndpoint"],
            },
        ],
    }
    ranking = {"data": [{"blob": PNG, "matches": [{"text": "a cat"}, {"text": "a dog"}]}]}
    examples = {
        "embed": {"data": [{"id": "a", "text": "a photo of a cat"}, {"blob": PNG}], "execEndpoint": "/"},
        "rank": ranking | {"execEndpoint": "/rank"},
    }
    return schemas.json_body(schema, examples)


def _documents(limits: RequestLimits, others: schemas.Schema) -> schemas.Schema:
    """Texts or images, each with these fields too."""
    text = schemas.text(limits) | {"minLength": 1}
    kinds = [
        {
            "type": "object",
            "properties": {"id": {"description": "given back, if it is a text"}, name: schema, **others},
            "required": [name, *others],
        }
        for name, schema in (("text", text), ("blob", schemas.IMAGE))
    ]
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.max_texts + limits.max_images,
        "items": {"anyOf": kinds},
    }

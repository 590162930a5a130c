"""The handlers of the use cases: read a request, ask, render the answer."""

from __future__ import annotations

from starlette.responses import Response

from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.body import Body
from clipserve.clip.template_sets import template_set
from clipserve.rest.front import Front
from clipserve.rest.rendering import (
    classification_json,
    json_response,
    models_json,
    similarity_json,
    template_set_json,
    template_sets_json,
    tokenization_json,
    vector_form,
)
from clipserve.rest.request import Request


async def classify(front: Front, request: Request, body: Body) -> Response:
    asked = await front.read(ClassifyRequest, request, body)
    answer = await front.inference.classify(asked)
    return await front.rendered(classification_json, answer)


async def embed(front: Front, request: Request, body: Body) -> Response:
    form = vector_form(request.header(b"accept"))
    asked = await front.read(EmbedRequest, request, body)
    answer = await front.inference.embed(asked, all_or_nothing=form.all_or_nothing)
    return await front.rendered(form.render, answer, asked)


async def similarity(front: Front, request: Request, body: Body) -> Response:
    asked = await front.read(SimilarityRequest, request, body)
    answer = await front.inference.similarity(asked)
    return await front.rendered(similarity_json, answer)


async def tokenize(front: Front, request: Request, body: Body) -> Response:
    asked = await front.read(TokenizeRequest, request, body)
    answer = await front.inference.tokenize(asked)
    return await front.rendered(tokenization_json, answer)


async def models(front: Front, _: Request, __: Body) -> Response:
    return models_json(await front.inference.models())


async def list_template_sets(_: Front, __: Request, ___: Body) -> Response:
    return template_sets_json()


async def get_template_set(_: Front, request: Request, __: Body) -> Response:
    return template_set_json(template_set(request.names["name"]))


async def livez(_: Front, __: Request, ___: Body) -> Response:
    return json_response({"status": "alive"})


async def readyz(front: Front, _: Request, __: Body) -> Response:
    ready = await front.inference.ready()
    return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

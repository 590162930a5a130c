"""The routes of the service's own API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import FastAPI
from starlette.responses import Response

from clipserve.api.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
    VectorOptions,
)
from clipserve.application.body import Body
from clipserve.rest import handlers, label_sets
from clipserve.rest.front import Front
from clipserve.rest.request import Request
from clipserve.rest.uploads import reader_of

Handler = Callable[[Front, Request, Body], Awaitable[Response]]

_ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/classify", handlers.classify),
    ("POST", "/embed", handlers.embed),
    ("POST", "/similarity", handlers.similarity),
    ("POST", "/tokenize", handlers.tokenize),
    ("GET", "/label-sets", label_sets.list_label_sets),
    ("GET", "/label-sets/{name}", label_sets.get_label_set),
    ("PUT", "/label-sets/{name}", label_sets.put_label_set),
    ("DELETE", "/label-sets/{name}", label_sets.delete_label_set),
    ("GET", "/template-sets", handlers.list_template_sets),
    ("GET", "/template-sets/{name}", handlers.get_template_set),
    ("GET", "/v1/models", handlers.models),
    ("GET", "/livez", handlers.livez),
    ("GET", "/readyz", handlers.readyz),
]


def add_route(app: FastAPI, front: Front, method: str, path: str, handler: Handler) -> None:
    """Add a route to the application itself: in a router FastAPI finds it more slowly."""
    app.router.add_route(path, partial(handler, front), methods=[method])


def add_routes(app: FastAPI, front: Front) -> None:
    """Add all of them."""
    for kind in (ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest, VectorOptions):
        reader_of(kind)
    for method, path, handler in _ROUTES:
        add_route(app, front, method, path, handler)

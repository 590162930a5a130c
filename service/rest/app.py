"""The ASGI application of the REST front."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service import __version__
from service.application.byte_budget import ByteBudget
from service.application.inference import Inference
from service.concurrency import SideThread
from service.rest.bulk import Bulk
from service.rest.docs import add_docs
from service.rest.exchange import Exchange, ExchangeLimits
from service.rest.openapi import complete
from service.rest.routes import BULK, add_routes
from service.rest.uploads import Uploads
from service.telemetry.metrics import Metrics


def build_app(
    inference: Inference,
    limits: ExchangeLimits,
    uploads: Uploads,
    side: SideThread,
    budget: ByteBudget,
    metrics: Metrics,
    bulk: Bulk,
) -> ASGIApp:
    """The routes, and around them the exchange, which answers for whatever they raise."""
    app = _Application(
        title="clipserve",
        version=__version__,
        description="Zero-shot image classification and CLIP embeddings.",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = _Route
    add_routes(app, inference, uploads, side)
    add_docs(app)
    complete(app, inference.limits, inference.names)
    _answer_head(app)
    return Exchange(app, limits, budget, metrics, {("POST", BULK): bulk})


def _answer_head(app: FastAPI) -> None:
    """Wherever GET is answered, HEAD is: the server leaves the body out.

    After the document is made: it would describe each HEAD under the name of its GET.
    """
    for route in app.routes:
        if isinstance(route, Route) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


class _Application(FastAPI):
    """Without the framework's middleware: the exchange renders all errors, and nothing else is needed of it."""

    def build_middleware_stack(self) -> ASGIApp:
        return self.router


class _Route(APIRoute):
    """Our endpoints take the request and give a response: FastAPI need not take them apart, only document them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint

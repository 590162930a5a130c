"""The ASGI application of the REST front."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service import __version__
from service.application.byte_budget import ByteBudget
from service.application.inference import Inference
from service.rest.exchange import Exchange, ExchangeLimits
from service.rest.routes import PROBLEMS, add_routes
from service.telemetry.metrics import Metrics


def build_app(
    inference: Inference,
    limits: ExchangeLimits,
    max_json_bytes: int,
    budget: ByteBudget,
    metrics: Metrics,
) -> ASGIApp:
    """The routes, and around them the exchange, which answers for whatever they raise."""
    app = _Application(
        title="clipserve",
        version=__version__,
        description="Zero-shot image classification and CLIP embeddings.",
        redoc_url=None,
        responses=PROBLEMS,
    )
    app.router.route_class = _Route
    add_routes(app, inference, max_json_bytes)
    return Exchange(app, limits, budget, metrics)


class _Application(FastAPI):
    """Without the framework's middleware: the exchange renders all errors, and nothing else is needed of it."""

    def build_middleware_stack(self) -> ASGIApp:
        return self.router


class _Route(APIRoute):
    """Our endpoints take the request and give a response: FastAPI need not take them apart, only document them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint

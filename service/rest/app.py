"""The ASGI application of the REST front."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service import __version__
from service.application.inference import InferenceService
from service.errors import ClipError
from service.rest.docs import add_docs
from service.rest.errors import FRONT_CODES, UNEXPECTED, problem, problem_response
from service.rest.lifeline import Lifeline, LifelineLimits
from service.rest.openapi import complete
from service.rest.routes import add_routes
from service.telemetry.metrics import Metrics


def build_app(
    service: InferenceService, limits: LifelineLimits, max_json_bytes: int, metrics: Metrics
) -> ASGIApp:
    """Routes, error answers and the lifeline around them."""
    app = FastAPI(
        title="clipserve",
        version=__version__,
        description="Zero-shot image classification and CLIP embeddings.",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = _Route
    add_routes(app, service, max_json_bytes)
    add_docs(app)
    complete(app, service.limits, service.names)
    _answer_head(app)
    app.add_exception_handler(ClipError, _clip_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)
    return Lifeline(app, limits, metrics)


def _answer_head(app: FastAPI) -> None:
    """Wherever GET is answered, HEAD is: the server leaves the body out.

    After the document is made: it would describe each HEAD under the name of its GET.
    """
    for route in app.routes:
        if isinstance(route, Route) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


class _Route(APIRoute):
    """Our endpoints take the request and give a response: FastAPI need not take them apart, only document them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


async def _clip_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClipError)
    request.state.error_code = error.code
    return problem(error, request.state.request_id)


async def _unexpected(request: Request, _: Exception) -> Response:
    """A fault of ours. The framework raises it again after this answer, and the lifeline logs it."""
    return problem(UNEXPECTED, request.state.request_id)


async def _http_exception(request: Request, error: Exception) -> Response:
    """No such path, wrong method: raised by the framework itself."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    told = {"code": FRONT_CODES[status], "detail": f"{error.detail}. See /docs."}
    return problem_response(status, told, request.state.request_id, dict(error.headers or {}))

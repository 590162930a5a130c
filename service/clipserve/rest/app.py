"""The ASGI application of the REST front.

FastAPI is the table of routes, and no more: its own way from a request to a handler (parameters by types,
validation, responses) took a third more CPU for a text request (docs/decisions/24-rest-exchange.md). Requests are
validated by the types of `clipserve.api` here, long ones beside the event loop, which FastAPI does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from clipserve.access.hosts import Hosts
from clipserve.application.shared import Shared
from clipserve.rest.bulk import Bulk, BulkLimits
from clipserve.rest.compat.adapters import operations_of, render_for
from clipserve.rest.compat.names import Compat
from clipserve.rest.exchange import Exchange, ExchangeLimits
from clipserve.rest.front import Front
from clipserve.rest.openapi import described
from clipserve.rest.pages import add_docs, add_page
from clipserve.rest.paths import Paths
from clipserve.rest.routes import OPERATIONS, add_routes


@dataclass(frozen=True)
class RestOptions:
    """The options of the REST front.

    Attributes:
        max_json_bytes: of a body besides its images.
        compat: the names of the enabled adapters of `rest.compat`.
        page: whether `/` is the page for people.
        cors_origins: scripts of pages from these origins may send requests and read all answers.
        hosts: the accepted values of the header Host.
    """

    exchange: ExchangeLimits
    bulk: BulkLimits
    max_json_bytes: int
    compat: Sequence[Compat]
    page: bool
    cors_origins: Sequence[str]
    hosts: Hosts


def build_app(shared: Shared, options: RestOptions) -> ASGIApp:
    """The application: all routes, inside the exchange that renders their errors."""
    app = FastAPI(openapi_url=None)
    inference = shared.inference
    front = Front(**vars(shared), max_json_bytes=options.max_json_bytes)
    operations = [*OPERATIONS, *operations_of(options.compat)]
    add_routes(app, front, operations)
    app.router.routes.append(Route("/bulk", Bulk(shared, options.bulk), methods=["POST"]))
    render = render_for(options.compat)
    add_docs(app, lambda: described(operations, inference.limits, inference.names, render))
    if options.page:
        add_page(app)
    exchange = Exchange(
        Paths(app.routes),
        options.exchange,
        shared.budget,
        shared.metrics,
        shared.gate,
        render_for=render,
        hosts=options.hosts,
    )
    return _with_cors(exchange, options.cors_origins)


def _with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Without origins `app` as it is.

    It is the outermost, because a browser's preflight comes without the key, and an error without these headers
    would be hidden from the script.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=["X-Request-Id", "Server-Timing", "Retry-After", "X-Model-Fingerprint"],
    )

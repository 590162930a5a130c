"""The ASGI application of the REST front."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from clipserve.access.gate import Gate
from clipserve.access.hosts import Hosts
from clipserve.application.byte_budget import ByteBudget
from clipserve.application.inference import Inference
from clipserve.concurrency import SideThread
from clipserve.rest.bulk import Bulk
from clipserve.rest.compat.adapters import ADAPTERS, render_for
from clipserve.rest.compat.names import Compat
from clipserve.rest.docs import add_docs
from clipserve.rest.exchange import Exchange, ExchangeLimits
from clipserve.rest.label_sets import add_label_sets
from clipserve.rest.openapi import described
from clipserve.rest.page.serving import add_page
from clipserve.rest.paths import Paths
from clipserve.rest.routes import BULK, add_routes
from clipserve.rest.uploads import Uploads
from clipserve.telemetry.metrics import Metrics


def build_app(
    inference: Inference,
    limits: ExchangeLimits,
    uploads: Uploads,
    side: SideThread,
    budget: ByteBudget,
    metrics: Metrics,
    bulk: Bulk,
    gate: Gate,
    compat: Sequence[Compat],
    page: bool,
    hosts: Hosts,
) -> ASGIApp:
    """The routes, and around them the exchange, which answers for whatever they raise.

    `compat`: the names of the adapters of `rest.compat` that are switched on.
    `page`: whether `/` is the page for people. `hosts`: whom requests may be for.
    """
    app = FastAPI(openapi_url=None)
    add_routes(app, inference, uploads, side)
    add_label_sets(app, inference, uploads, side)
    for name in compat:
        ADAPTERS[name].add(app, inference, uploads, side)
    render = render_for(compat)
    app.openapi = lambda: described(inference.limits, inference.names, compat, render)  # type: ignore[method-assign]
    add_docs(app, side)
    if page:
        add_page(app)
    paths = Paths(app.routes)
    streaming = {("POST", BULK): bulk}
    return Exchange(paths, limits, budget, metrics, gate, streaming, render, paths.find, hosts)


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Scripts of pages from these origins may ask, and read all answers; without origins `app` as it is.

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

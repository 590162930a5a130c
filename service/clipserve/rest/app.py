"""The FastAPI application of REST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from clipserve import __version__
from clipserve.access.hosts import Hosts
from clipserve.application.shared import Shared
from clipserve.errors import ClipError
from clipserve.rest import label_sets, pages, routes
from clipserve.rest.body import BodyLimits
from clipserve.rest.compat.adapters import ADAPTERS, render_for
from clipserve.rest.compat.names import Compat
from clipserve.rest.document import custom_openapi
from clipserve.rest.errors import answer_error
from clipserve.rest.exchange import Exchange


@dataclass(frozen=True)
class RestOptions:
    """The options of REST.

    Attributes:
        max_json_bytes: JSON may have a value for each 8 of them.
        compat: the names of the enabled adapters of `rest.compat`.
        page: whether `/` is the page for people.
        cors_origins: scripts of pages from these origins may send requests and read all answers.
        hosts: the accepted values of the header Host.
    """

    body: BodyLimits
    max_json_bytes: int
    compat: Sequence[Compat]
    page: bool
    cors_origins: Sequence[str]
    hosts: Hosts


def build_app(shared: Shared, options: RestOptions) -> FastAPI:
    """The application: all routes, their errors, and the middleware around them."""
    app = FastAPI(
        title="clipserve",
        version=__version__,
        description="Zero-shot image classification and CLIP embeddings.",
        routes=routes.router.routes,  # not included, which costs each request a tenth of what FastAPI takes
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the service has its own
        openapi_url=None,  # `pages` has it, with /docs
        redirect_slashes=False,
        generate_unique_id_function=routes.operation_id,
    )
    app.state.service, app.state.max_json_bytes = shared, options.max_json_bytes
    own = [label_sets.router, routes.template_sets, routes.operations]
    others = [ADAPTERS[name].router for name in options.compat]
    for router in (*own, *others, pages.docs, *([pages.page] if options.page else [])):
        app.include_router(router)
    app.openapi = custom_openapi(app, shared.inference.limits, shared.inference.names)  # type: ignore[method-assign]
    render = render_for(options.compat)
    for kind in (ClipError, HTTPException):
        app.add_exception_handler(kind, partial(answer_error, render))
    app.add_middleware(Exchange, shared=shared, limits=options.body, render_for=render, hosts=options.hosts)
    if options.cors_origins:
        # The outermost: a browser's preflight comes without the key, and an error without these headers would be
        # hidden from the script.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Server-Timing", "Retry-After", "X-Model-Fingerprint"],
        )
    return app

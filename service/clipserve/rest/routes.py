"""The routes of the service's own API."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.shared import Shared
from clipserve.application.shown import template_set_fields
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.rest.questions import QUESTIONS, asking
from clipserve.rest.rendering import json_response, models_json

BULK = "/bulk"


def add_routes(app: FastAPI, shared: Shared, max_json_bytes: int) -> None:
    """Add all endpoints to the application itself: in a router FastAPI finds them more slowly."""
    inference = shared.inference
    for path, read in QUESTIONS.items():
        app.router.add_route(path, asking(shared, max_json_bytes, read), methods=["POST"])

    @app.router.route(BULK, methods=["POST"])
    async def bulk(_: Request) -> Response:
        raise NotImplementedError("`clipserve.rest.bulk` answers in place of this, which has its path")

    @app.router.route("/v1/models")
    async def models(_: Request) -> Response:
        return models_json(await inference.models())

    @app.router.route("/template-sets")
    async def list_template_sets(_: Request) -> Response:
        sets = [template_set_fields(each, whole=False) for each in TEMPLATE_SETS.values()]
        return json_response({"template_sets": sets})

    @app.router.route("/template-sets/{name}")
    async def get_template_set(request: Request) -> Response:
        found = template_set(request.path_params["name"])
        return json_response(template_set_fields(found, whole=True))

    @app.router.route("/livez")
    async def livez(_: Request) -> Response:
        return json_response({"status": "alive"})

    @app.router.route("/readyz")
    async def readyz(_: Request) -> Response:
        ready = await inference.ready()
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

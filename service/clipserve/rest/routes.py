"""The routes of the service's own API."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.inference import Inference
from clipserve.clip.template_sets import template_set
from clipserve.rest.questions import QUESTIONS, asking
from clipserve.rest.rendering import json_response, models_json, template_set_json, template_sets_json
from clipserve.rest.uploads import Uploads

BULK = "/bulk"


def add_routes(app: FastAPI, inference: Inference, uploads: Uploads) -> None:
    """Add all endpoints to the application itself: in a router FastAPI finds them more slowly."""
    for path, read in QUESTIONS.items():
        app.router.add_route(path, asking(uploads, inference, read), methods=["POST"])

    @app.router.route(BULK, methods=["POST"])
    async def bulk(_: Request) -> Response:
        raise NotImplementedError("`clipserve.rest.bulk` answers in place of this, which has its path")

    @app.router.route("/v1/models")
    async def models(_: Request) -> Response:
        return models_json(await inference.models())

    @app.router.route("/template-sets")
    async def list_template_sets(_: Request) -> Response:
        return template_sets_json()

    @app.router.route("/template-sets/{name}")
    async def get_template_set(request: Request) -> Response:
        return template_set_json(template_set(request.path_params["name"]))

    @app.router.route("/livez")
    async def livez(_: Request) -> Response:
        return json_response({"status": "alive"})

    @app.router.route("/readyz")
    async def readyz(_: Request) -> Response:
        ready = await inference.ready()
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

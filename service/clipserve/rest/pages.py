"""The pages for people: `/`, and `/docs` with Swagger UI.

This process serves all their files, so they work without internet access. Addresses in them are relative, so that
they work behind a proxy that adds a prefix.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from clipserve.concurrency import SHORT, beside_loop

_OWN = Path(str(files("clipserve.rest")))
# Besides files of their own, the page shows thumbnails of chosen pictures before they are sent, and Swagger UI has
# small pictures in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASK_AGAIN = {"Cache-Control": "no-cache"}
_HEADERS = _ASK_AGAIN | {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Files(StaticFiles):
    """Files with headers of ours. A browser asks each time whether a file has changed."""

    def file_response(self, full_path: Any, stat_result: os.stat_result, *arguments: Any) -> Response:
        response = super().file_response(full_path, stat_result, *arguments)
        response.headers.update(_HEADERS)
        return response


_static = _Files(directory=_OWN / "page" / "static")
_docs = _Files(directory=_OWN, packages=[("fastapi_swagger", "resources")])  # Swagger UI's files

page = APIRouter(include_in_schema=False)
docs = APIRouter(include_in_schema=False)


@page.get("/")
async def index(request: Request) -> Response:
    return await _static.get_response("index.html", request.scope)


@page.get("/page/{name}")
async def file(request: Request, name: str) -> Response:
    return await _static.get_response(name, request.scope)


@docs.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """It is made when it is first asked for, beside the event loop. "." is its folder, whatever a proxy strips."""
    document = await beside_loop(request.app.openapi, SHORT + 1)
    servers = [{"url": request.scope["root_path"] or "."}]
    return Response(orjson.dumps(document | {"servers": servers}), 200, _ASK_AGAIN, "application/json")


@docs.get("/docs")
async def swagger(request: Request) -> Response:
    return await _docs.get_response("docs.html", request.scope)


@docs.get("/docs/{name}")
async def swagger_file(request: Request, name: str) -> Response:
    if name.endswith(".py"):
        raise HTTPException(404)
    return await _docs.get_response(name, request.scope)

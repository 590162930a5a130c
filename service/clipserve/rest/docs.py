"""/docs: Swagger UI. This process serves all its files, so it works without internet access."""

from __future__ import annotations

import functools
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clipserve.concurrency import SideThread

_PACKAGE = "fastapi-swagger"  # only for the files of Swagger UI in it
_FILES = Path(str(files("fastapi_swagger"))) / "resources"
_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_FOR_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}  # the version is in the address
_ASK_AGAIN = {"Cache-Control": "no-cache"}

# Besides its own files Swagger UI needs only the small pictures in its style sheet, which are data URIs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_OWN = files("clipserve.rest") / "document"  # addresses in it are relative, for proxies that add a prefix


def add_docs(app: FastAPI, side: SideThread) -> None:
    """Add the page, its files and the OpenAPI document, which is made when first requested, and omits these."""

    @functools.cache
    def document() -> bytes:
        return orjson.dumps(app.openapi())

    @app.router.route("/openapi.json", include_in_schema=False)
    async def openapi(_: Request) -> Response:
        content = await side.call(document, short=document.cache_info().currsize > 0)
        return Response(content, 200, _ASK_AGAIN, "application/json")

    current = version(_PACKAGE)
    page = (_OWN / "docs.html").read_text("utf-8").replace("{version}", current)
    script = (_OWN / "docs.js").read_text("utf-8")

    @functools.cache
    def kept(name: str) -> bytes:
        return (_FILES / name).read_bytes()

    @app.router.route("/docs", include_in_schema=False)
    async def docs(_: Request) -> Response:
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(page, 200, headers | _ASK_AGAIN, "text/html")

    @app.router.route("/docs/start.js", include_in_schema=False)
    async def start(_: Request) -> Response:
        return Response(script, 200, _ASK_AGAIN, "text/javascript")

    @app.router.route("/docs/{version}/{name}", include_in_schema=False)
    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if request.path_params["version"] != current or name not in _TYPES:
            raise HTTPException(404)
        return Response(kept(name), 200, _FOR_A_YEAR, _TYPES[name])

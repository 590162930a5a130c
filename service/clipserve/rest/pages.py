"""The pages for people: `/`, and `/docs` with Swagger UI.

This process serves all their files, so they work without internet access. Addresses in them are relative, so that
they work behind a proxy that adds a prefix.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response

from clipserve.application.body import Body
from clipserve.concurrency import beside_loop
from clipserve.rest.request import Request

INDEX = "index.html"
_DOCUMENT_BYTES = 1_000_000  # about, of the OpenAPI document
_OWN = Path(str(files("clipserve.rest")))
_SWAGGER = "fastapi-swagger"  # only for the files of Swagger UI in it
_SWAGGER_FILES = Path(str(files("fastapi_swagger"))) / "resources"
_SERVED = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Besides files of their own, the page shows thumbnails of chosen pictures before they are sent, and Swagger UI has
# small pictures in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' {pictures}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASK_AGAIN = {"Cache-Control": "no-cache"}
_FOR_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}  # the version is in the address


class _File:
    """A file for which a browser asks each time whether it has changed: its ETag is a part of its SHA-256."""

    def __init__(self, content: bytes, suffix: str, pictures: str) -> None:
        self._content = content
        self._type = _TYPES[suffix]
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        self._headers = _ASK_AGAIN | {
            "Content-Security-Policy": _POLICY.format(pictures=pictures),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "ETag": self._tag,
        }

    def answer(self, request: Request) -> Response:
        """200 with the file; 304 if the caller has it."""
        had = request.header(b"if-none-match")
        if self._tag in (tag.strip().removeprefix("W/") for tag in had.split(",")):
            return Response(None, 304, self._headers)
        return Response(self._content, 200, self._headers, self._type)


def add_page(app: FastAPI) -> None:
    """Add the page at `/`, and its files below `/page/`, which are read at the start."""
    static = (path for path in (_OWN / "page" / "static").iterdir() if path.suffix in _TYPES)
    kept = {path.name: _File(path.read_bytes(), path.suffix, "blob:") for path in static}
    index = kept.pop(INDEX)

    @app.router.route("/", include_in_schema=False)
    async def page(request: Request, _: Body) -> Response:
        return index.answer(request)

    @app.router.route("/page/{name}", include_in_schema=False)
    async def file(request: Request, _: Body) -> Response:
        if request.names["name"] not in kept:
            raise HTTPException(404)
        return kept[request.names["name"]].answer(request)


def add_docs(app: FastAPI, describe: Callable[[], object]) -> None:
    """Add Swagger UI at `/docs`, its files, and the OpenAPI document; `describe` makes it when first requested."""
    current = version(_SWAGGER)
    html = (_OWN / "document" / "docs.html").read_text("utf-8").replace("{version}", current)
    page = _File(html.encode(), ".html", "data:")
    script = _File((_OWN / "document" / "docs.js").read_bytes(), ".js", "data:")

    @functools.cache
    def document() -> bytes:
        return orjson.dumps(describe())

    @functools.cache
    def swagger(name: str) -> bytes:
        return (_SWAGGER_FILES / name).read_bytes()

    @app.router.route("/openapi.json", include_in_schema=False)
    async def openapi(_: Request, __: Body) -> Response:
        known = document.cache_info().currsize > 0
        content = await beside_loop(document, 0 if known else _DOCUMENT_BYTES)
        return Response(content, 200, _ASK_AGAIN, "application/json")

    @app.router.route("/docs", include_in_schema=False)
    async def docs(request: Request, _: Body) -> Response:
        return page.answer(request)

    @app.router.route("/docs/start.js", include_in_schema=False)
    async def start(request: Request, _: Body) -> Response:
        return script.answer(request)

    @app.router.route("/docs/{version}/{name}", include_in_schema=False)
    async def file(request: Request, _: Body) -> Response:
        name = request.names["name"]
        if request.names["version"] != current or name not in _SERVED:
            raise HTTPException(404)
        return Response(swagger(name), 200, _FOR_A_YEAR, _TYPES[Path(name).suffix])

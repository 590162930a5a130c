"""GET /: the page for people. All its files are in this package, so it works without internet access."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

INDEX = "index.html"
_STATIC = Path(str(files("clipserve.rest.page"))) / "static"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

# `blob:` is for thumbnails of chosen pictures before they are sent.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Add the page at `/`, and its files below `/page/`, which are read at the start.

    Its addresses are relative, so that it works behind a proxy that adds a prefix. A browser checks each time
    whether a file has changed: the ETag is a part of its SHA-256.
    """
    kept = {path.name: _File(path) for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES}

    @app.router.route("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return kept[INDEX].answer(request)

    @app.router.route("/page/{name}", include_in_schema=False)
    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name == INDEX or name not in kept:
            raise HTTPException(404)
        return kept[name].answer(request)


class _File:
    """A file, read once."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._type = _TYPES[path.suffix]
        self._tag = f'"{hashlib.sha256(self._content).hexdigest()[:20]}"'

    def answer(self, request: Request) -> Response:
        """200 with the file; 304 if the caller has it."""
        headers = _HEADERS | {"ETag": self._tag}
        had = request.headers.get("if-none-match", "")
        if self._tag in (tag.strip().removeprefix("W/") for tag in had.split(",")):
            return Response(None, 304, headers)
        return Response(self._content, 200, headers, self._type)

"""The tools of `clipserve mcp`, on the official SDK of the Model Context Protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from socket import socket
from typing import Annotated, TypeVar
from urllib.parse import quote

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clipserve import __version__
from clipserve.access.key_file import following
from clipserve.access.keys import Keys
from clipserve.client.errors import ClipserveError
from clipserve.client.methods import AsyncMethods
from clipserve.commands.contact_sheet import thumbnail
from clipserve.commands.embed import make
from clipserve.commands.search import IN_FOLDER, images_in, nearest_in
from clipserve.commands.vectors.files import VectorFileError
from clipserve.errors import PermissionDenied, Unauthenticated

R = TypeVar("R")

_MOST = 100  # photos in an answer, and in a question
_SIDE = 1_024  # pixels of a picture that an agent looks at

Top = Annotated[int, Field(ge=1, le=_MOST, description="how many photos to return")]
PhotoPath = Annotated[str, Field(description="path of a photo, as `search` returns it")]
Texts = Annotated[list[str], Field(min_length=1, max_length=_MOST)]


class Photo(BaseModel):
    """A photo that was found. `uri`: of its picture. `cosine`: -1 to 1; compare it within one search."""

    path: str
    uri: str
    cosine: float


class Score(BaseModel):
    label: str
    score: float


class NoPhoto(ToolError, ResourceError):
    """No photo has this path, or it is not in a folder that agents may see."""


class Photos:
    """Photos in some folders. A path begins with the name of its folder, and never leads out of it."""

    def __init__(self, clip: AsyncMethods, folders: Sequence[Path]) -> None:
        self.clip = clip
        self._folders = {folder.name: folder for folder in folders}
        self._searches = asyncio.Lock()  # two would write the same file of vectors

    def file(self, path: str) -> Path:
        """Raises NoPhoto: the path leads out of its folder, also by a symbolic link, or to no file."""
        file = self._inside(path)
        if file is None:
            raise NoPhoto(f"there is no photo {path}: use a path that `search` returned.")
        return file

    def _inside(self, path: str) -> Path | None:
        name, _, rest = path.partition("/")
        if (folder := self._folders.get(name)) is None:
            return None
        try:
            file = (folder / rest).resolve()
            return file if file.is_relative_to(folder) and file.is_file() else None
        except (OSError, ValueError):  # the system allows no such name: it is too long, or has a NUL
            return None

    async def search(self, sentence: str | None, photo: Path | None, top: int) -> list[Photo]:
        """The nearest of all folders, whose new photos are embedded first."""
        found = []
        async with self._searches:
            for name, folder in self._folders.items():
                file = folder / IN_FOLDER
                await make(self.clip, images_in(folder), file, prune=True)
                rows = await nearest_in(self.clip, file, sentence, photo, top)
                found += [(f"{name}/{row.name}", row.cosine) for row in rows]
        # A folder may have links to photos outside of it, which an agent is not told.
        found = [row for row in found if self._inside(row[0])]
        best = sorted(found, key=lambda row: -row[1])[:top]
        return [Photo(path=path, uri=f"photo://{quote(path)}", cosine=cosine) for path, cosine in best]


def tools(photos: Photos) -> MCPServer:
    """A server with the tools, and pictures as resources."""
    server: MCPServer = MCPServer(
        "clipserve",
        version=__version__,
        instructions="Find photos by a sentence or by another photo, and classify them by any labels. "
        "`photo://PATH` is the picture of a path.",
    )

    @server.tool()
    async def search(sentence: str, top: Top = 10) -> list[Photo]:
        """Find the photos that a sentence describes, best first. A phrase such as "a dog on a beach" works best."""
        return await told(photos.search(sentence, None, top))

    @server.tool()
    async def search_like(path: PhotoPath, top: Top = 10) -> list[Photo]:
        """Find photos that look like one, best first; the first is the photo itself."""
        return await told(photos.search(None, photos.file(path), top))

    @server.tool()
    async def label_sets() -> list[str]:
        """Names of label sets: labels that somebody has prepared and tuned, for `classify`."""
        return await told(photos.clip.label_sets())

    @server.tool()
    async def classify(
        path: PhotoPath, labels: Texts | None = None, label_set: str | None = None
    ) -> list[Score]:
        """Score labels, or those of a label set, by how well they fit a photo, best first.

        The scores of labels add up to 1: offer all that may be. A label set has its own rules, and may find none.
        """
        file = photos.file(path)
        (scored,) = (await told(photos.clip.classify([file], labels or (), label_set=label_set))).labels
        return [Score(label=each.label, score=each.score) for each in scored]

    @server.tool()
    async def similarity(path: PhotoPath, sentences: Texts) -> list[float]:
        """The cosine of a photo with each sentence, -1 to 1."""
        compared = await told(photos.clip.similarity([photos.file(path)], to_texts=sentences))
        return [float(cosine) for cosine in compared.cosines[0]]

    @server.tool()
    async def embed(sentence: str | None = None, path: str | None = None) -> list[float]:
        """The vector of a sentence or of a photo, of unit length, for an index of your own."""
        if (sentence is None) == (path is None):
            raise ToolError("give a sentence or the path of a photo; one of the two.")
        if sentence is not None:
            made = await told(photos.clip.embed_texts([sentence]))
        else:
            made = await told(photos.clip.embed_images([photos.file(path or "")]))
        return [float(value) for value in made.vectors[0]]

    @server.resource("photo://{+path}", mime_type="image/jpeg")
    async def photo(path: str) -> bytes:
        """The picture, upright, at most 1,024 pixels on its longer side."""
        return await asyncio.to_thread(thumbnail, photos.file(path), _SIDE)

    return server


async def serve_stdio(photos: Photos) -> None:
    """Answer one agent until it closes standard input."""
    await tools(photos).run_stdio_async()


async def serve_http(photos: Photos, host: str, listening: socket, keys_file: Path | None) -> None:
    """Answer agents by streamable HTTP at /mcp until a signal. `keys_file`: None: an agent needs no key."""
    async with AsyncExitStack() as stack:
        app: ASGIApp = tools(photos).streamable_http_app(host=host)
        if keys_file is not None:
            app = _with_keys(app, await stack.enter_async_context(following(keys_file)))
        await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listening])


async def told(result: Awaitable[R]) -> R:
    """The result. Raises ToolError, which an agent reads: the call or one of its items has failed."""
    try:
        done = await result
    except (ClipserveError, VectorFileError, OSError) as error:
        raise ToolError(str(error)) from None
    for failed in (*getattr(done, "errors", {}).values(), *getattr(done, "other_errors", {}).values()):
        raise ToolError(f"{failed.detail} ({failed.code})")
    return done


def _with_keys(app: ASGIApp, keys: Keys) -> ASGIApp:
    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                keys.check(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1") or None, "use")
            except (Unauthenticated, PermissionDenied) as error:
                status = 401 if isinstance(error, Unauthenticated) else 403
                await JSONResponse({"error": error.detail}, status)(scope, receive, send)
                return
        await app(scope, receive, send)

    return checked

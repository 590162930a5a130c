"""The tools of `clipserve mcp`, on the official SDK of the Model Context Protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import quote

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from pydantic import BaseModel, Field

from clipserve import __version__
from clipserve.client.errors import ClipserveError
from clipserve.client.index import Index, IndexInUse
from clipserve.client.methods import AsyncMethods
from clipserve.commands.contact_sheet import thumbnail
from clipserve.commands.embed import folder_index, images_in, make
from clipserve.commands.search import nearest_in

R = TypeVar("R")

_MOST = 100  # photos in an answer, and in a question
_SIDE = 1_024  # pixels of a picture that an agent looks at
_WAIT_SECONDS = 3.0  # for new photos, before a search answers with those that it has
_REPORT_SECONDS = 0.5  # between two notifications of progress

Top = Annotated[int, Field(ge=1, le=_MOST, description="how many photos to return")]
PhotoPath = Annotated[str, Field(description="path of a photo, as `search` returns it")]
Texts = Annotated[list[str], Field(min_length=1, max_length=_MOST)]


class Photo(BaseModel):
    """A photo that was found. `uri`: of its picture. `cosine`: -1 to 1; compare it within one search."""

    path: str
    uri: str
    cosine: float


class Search(BaseModel):
    """The photos that were found, best first. `note`: what is not searched yet; empty: all photos were searched."""

    photos: list[Photo]
    note: str


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
        self._indexes = {folder.name: folder_index(folder) for folder in folders}
        self._updating: asyncio.Task[None] | None = None

    def file(self, path: str) -> Path:
        """Raises NoPhoto: the path leads out of its folder, also by a symbolic link, or to no file."""
        name, _, rest = path.partition("/")
        with suppress(KeyError, OSError, ValueError):  # no such folder; a name that is too long or has a NUL
            folder = self._folders[name]
            file = (folder / rest).resolve()
            if file.is_relative_to(folder) and file.is_file():
                return file
        raise NoPhoto(f"there is no photo {path}: use a path that `search` returned.")

    def _may_be_seen(self, path: str) -> bool:
        """A folder may have links to photos outside of it, which an agent is not told."""
        with suppress(NoPhoto):
            return bool(self.file(path))
        return False

    async def search(
        self, sentence: str | None, photo: Path | None, top: int, report: Callable[[int], Awaitable[None]]
    ) -> Search:
        """The nearest of all folders. New photos are embedded beside it: it waits some seconds for them.

        `report`: gets the number of photos in the indexes meanwhile.
        """
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(self._update())
        for _ in range(round(_WAIT_SECONDS / _REPORT_SECONDS)):
            if (await asyncio.wait({self._updating}, timeout=_REPORT_SECONDS))[0]:
                break
            await report(await asyncio.to_thread(self._count))
        if self._updating.done():
            self._updating.result()
        found = []
        for name, folder in self._indexes.items():
            with closing(Index(folder)) as index:
                rows = await nearest_in(self.clip, index, sentence, photo, top)
            found += [(f"{name}/{row.name}", row.cosine) for row in rows]
        best = sorted(filter(lambda row: self._may_be_seen(row[0]), found), key=lambda row: -row[1])[:top]
        photos = [Photo(path=path, uri=f"photo://{quote(path)}", cosine=cosine) for path, cosine in best]
        count = await asyncio.to_thread(self._count)
        note = f"Photos are still being embedded: {count:,} were searched. Ask again for the others."
        return Search(photos=photos, note="" if self._updating.done() else note)

    async def _update(self) -> None:
        """Bring the index of each folder up to date, unless another process does."""
        for name, folder in self._folders.items():
            with closing(Index(self._indexes[name])) as index:
                try:
                    await make(self.clip, images_in(folder), index, retry=False)
                except IndexInUse:
                    continue

    def _count(self) -> int:
        count = 0
        for path in self._indexes.values():
            with closing(Index(path)) as index:
                count += index.count()
        return count


def tools(photos: Photos) -> MCPServer:
    """A server with the tools, and pictures as resources."""
    server: MCPServer = MCPServer(
        "clipserve",
        version=__version__,
        instructions="Find photos by a sentence or by another photo, and classify them by any labels. "
        "`photo://PATH` is the picture of a path.",
    )

    @server.tool()
    async def search(sentence: str, ctx: Context, top: Top = 10) -> Search:
        """Find the photos that a sentence describes, best first. A phrase such as "a dog on a beach" works best."""
        return await told(photos.search(sentence, None, top, ctx.report_progress))

    @server.tool()
    async def search_like(path: PhotoPath, ctx: Context, top: Top = 10) -> Search:
        """Find photos that look like one, best first; the first is the photo itself."""
        return await told(photos.search(None, photos.file(path), top, ctx.report_progress))

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

    @server.resource("photo://{+path}", mime_type="image/jpeg")
    async def photo(path: str) -> bytes:
        """The picture, upright, at most 1,024 pixels on its longer side."""
        return await asyncio.to_thread(thumbnail, photos.file(path), _SIDE)

    return server


async def serve(photos: Photos) -> None:
    """Answer one agent until it closes standard input."""
    await tools(photos).run_stdio_async()


async def told(result: Awaitable[R]) -> R:
    """The result. Raises ToolError, which an agent reads: the call or one of its items has failed."""
    try:
        done = await result
    except (ClipserveError, OSError) as error:
        raise ToolError(str(error)) from None
    for failed in getattr(done, "errors", {}).values():
        raise ToolError(f"{failed.detail} ({failed.code})")
    return done

"""`clipserve search`: the images of a folder, or the rows of an index, nearest to a sentence or an image."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipserve.client.errors import ClipserveError, ItemFailed, Refused
from clipserve.client.images import read_file
from clipserve.client.methods import AsyncMethods
from clipserve.commands.embed import folder_index, images_in, interrupted, make
from clipserve.commands.opening import IN_FLIGHT, Every, Force, InFlight, Json, Key, Model, Url, open_clip
from clipserve.commands.outputs import check_output, write_output
from clipserve.commands.printing import say, say_json
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.errors import UnknownModel

if TYPE_CHECKING:  # it loads SQLite
    from clipserve.client.index import Found, Index


def search(
    where: Annotated[Path, typer.Argument(metavar="FOLDER|INDEX", help="A folder, or an index of `embed`.")],
    sentence: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[Path | None, typer.Option(help="Find images like this one.")] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 10,
    page: Annotated[Path | None, typer.Option("--html", help="Also write a page with pictures.")] = None,
    force: Force = False,
    every: Every = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
    json: Json = False,
) -> None:
    """Find images by a sentence or by an image.

    Of a folder, what is new or has changed is embedded first, as `embed FOLDER` does. Prints cosines and paths.
    """
    if (sentence is None) == (image is None):
        fail("say what to look for: a sentence, or --image FILE.", status=WRONG_USE)
    folder = where if os.path.isdir(where) else None
    if not (folder or os.path.isfile(where)):
        fail(f"there is no folder or index {where}.", status=WRONG_USE)
    place = folder_index(folder) if folder else where
    if page is not None:
        check_output(page, b"img-src data:; style-src 'unsafe-inline'", place, force=force)

    async def searched() -> int:
        from clipserve.client.index import Index, IndexUnusable

        with closing(Index(place)) as index:
            of, status = index.facts, 0
            try:
                async with open_clip(url, key, model or (of and of.model), in_flight) as clip:
                    if folder:
                        status = await _update(clip, folder, every, index)
                    found = await nearest_in(clip, index, sentence, image, top)
            except Refused as error:
                if model or not of or error.code != UnknownModel.code:
                    raise
                why = f"{place} has vectors of {of.fingerprint}, and {error.detail} Ask one that has it"
                raise IndexUnusable(f"{why}, or `embed` again: --index FILE.") from None
            _show(found, as_json=json)
            if index.damages:
                say(
                    f"{', '.join(index.damaged()[:20])}: damaged, not searched. `clipserve embed` mends it.",
                    err=True,
                )
                status = 1
            if not found:
                say(f"{place} has no vectors.", err=True)
            if page is not None:
                _write(page, sentence if sentence is not None else f"like {image}", found, index, folder)
        return status

    run(searched(), interrupted(place))


async def _update(clip: AsyncMethods, folder: Path, every: float | None, index: Index) -> int:
    """Returns 1 if a part of the folder could not be read, else 0."""
    from clipserve.client.index import IndexInUse

    try:
        return 1 if (await make(clip, images_in(folder, every), index, retry=False)).unread else 0
    except IndexInUse:
        say(f"an `embed` is under way: searched are the {index.count():,} rows of now.", err=True)
        return 0


async def nearest_in(
    clip: AsyncMethods, index: Index, sentence: str | None, image: Path | None, top: int
) -> list[Found]:
    """The nearest rows of an index.

    Raises:
        IndexUnusable: it has vectors of another model.
        ClipserveError: the sentence or the image cannot be embedded.
    """
    served = await clip.served_by()
    if index.facts:
        facts = index.facts._replace(model=served.model, fingerprint=served.fingerprint)
        index.check(facts._replace(embed_dim=served.embed_dim))
    try:
        if image is not None:
            query = await clip.embed_image(read_file(image))
        else:
            query = await clip.embed_text(sentence or "", truncate=False)
    except ItemFailed as error:
        raise ClipserveError(f"{image or 'the sentence'}: {error.detail} ({error.code})") from None
    return await asyncio.to_thread(index.nearest, query.vector, top)


def _show(found: list[Found], *, as_json: bool) -> None:
    for row in found:
        if as_json:
            say_json(row._asdict())
        else:
            say(f"{row.cosine:.4f}", row.name)


def _write(page: Path, title: str, found: list[Found], index: Index, folder: Path | None) -> None:
    from clipserve.commands.contact_sheet import contact_sheet

    facts = index.facts
    pictured = [(row.name, row.cosine, _file_of(row.name, index.path, folder)) for row in found]
    about = f"{folder or index.path}, {facts.fingerprint if facts else 'no row'}"
    content = contact_sheet(title, about, pictured).encode("utf-8", "backslashreplace")
    write_output(page, lambda file: file.write(content))
    say(f"{page}: a page with pictures of what was found.", err=True)


def _file_of(name: str, index: Path, folder: Path | None) -> Path:
    """The path of a row's image: relative to the folder, or to the index; else as it was given."""
    return (folder or Path()) / name if folder or os.path.exists(name) else index.parent / name

"""`clipserve search`: the images of a folder, or the rows of a file, that are nearest to a sentence or an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.images import read_file
from clipserve.client.methods import AsyncMethods
from clipserve.commands.contact_sheet import contact_sheet
from clipserve.commands.embed import check_file, interrupted, make
from clipserve.commands.opening import IN_FLIGHT, Every, InFlight, Key, Model, Url, open_clip
from clipserve.commands.printing import say
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.commands.vectors import listing
from clipserve.commands.vectors.files import Found, VectorFileError, facts_of, nearest
from clipserve.commands.vectors.listing import VectorSource

IN_FOLDER = ".clipserve.npz"  # hidden, so that it is not embedded itself


def search(
    where: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A file of `embed`, or a folder.")],
    sentence: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[Path | None, typer.Option(help="Find images like this one.")] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 10,
    page: Annotated[Path | None, typer.Option("--html", help="Also write a page with pictures.")] = None,
    every: Every = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Find images by a sentence or by an image.

    A folder is embedded first into FOLDER/.clipserve.npz, later only its changes. Prints cosines and paths.
    """
    if (sentence is None) == (image is None):
        fail("say what to look for: a sentence, or --image FILE.", status=WRONG_USE)
    folder = where if os.path.isdir(where) else None
    file = where / IN_FOLDER if folder else where
    check_file(file)
    if not (folder or os.path.isfile(file)):
        fail(f"there is no file or folder {where}.{_unfinished(file)}", status=WRONG_USE)
    if page is not None and not os.path.isdir(page.parent):
        fail(f"there is no folder {page.parent} for --html.", status=WRONG_USE)

    async def searched() -> int:
        name = model or (facts_of(file).model if file.exists() else None)
        async with open_clip(url, key, name, in_flight, exact=True) as clip:
            if folder:
                await make(clip, images_in(folder, every), file, prune=True)
            found = await nearest_in(clip, file, sentence, image, top)
        for row in found:
            say(f"{row.cosine:.4f}", row.name)
        if page is not None:
            title = sentence if sentence is not None else f"like {image}"
            _write(page, title, found, file, folder)
        return 0

    run(searched(), interrupted(file))


def _unfinished(file: Path) -> str:
    """What to do about a missing file that an `embed` has begun; empty if none has."""
    journal = f"{file}.journal"
    if not os.path.isfile(journal):
        return ""
    return f" {journal} is of an `embed` that did not end: run that again, and it goes on from there."


def images_in(folder: Path, every: float | None = None) -> VectorSource:
    """The images of a folder, named by their paths in it."""
    return VectorSource("image", lambda left_out: listing.images([str(folder)], left_out, str(folder), every))


async def nearest_in(
    clip: AsyncMethods, file: Path, sentence: str | None, image: Path | None, top: int
) -> list[Found]:
    """The nearest rows of a file.

    Raises:
        VectorFileError: it has vectors of another model.
        ClipserveError: the sentence or the image cannot be embedded.
    """
    kept, wanted = facts_of(file).fingerprint, (await clip.served_by()).fingerprint
    if kept != wanted:
        raise VectorFileError(
            f"{file} has vectors of {kept}, and the model makes those of {wanted}. A cosine between two "
            "fingerprints means nothing. Use the model that made the file, or embed it again."
        )
    try:
        if image is not None:
            query = await clip.embed_image(read_file(image))
        else:
            query = await clip.embed_text(sentence or "", truncate=False)
    except ItemFailed as error:
        raise ClipserveError(f"{image or 'the sentence'}: {error.detail} ({error.code})") from None
    return nearest(file, query.vector, top)


def _write(page: Path, title: str, found: list[Found], file: Path, folder: Path | None) -> None:
    facts = facts_of(file)
    texts = facts.kind == "text"
    pictured = [(row, None if texts else _file_of(row.name, file, folder)) for row in found]
    about = f"{folder or file}, {facts.fingerprint}"
    page.write_text(contact_sheet(title, about, pictured), "utf-8", "backslashreplace")
    say(f"{page}: a page with pictures of what was found.", err=True)


def _file_of(name: str, file: Path, folder: Path | None) -> Path:
    """The path of a row's image: relative to the file, if that is a folder's; else as it was given."""
    return (folder or Path()) / name if folder or os.path.exists(name) else file.parent / name

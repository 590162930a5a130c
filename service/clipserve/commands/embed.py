"""`clipserve embed`: a folder of images, or lines of text, to a file of vectors."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from clipserve.client.methods import AsyncMethods
from clipserve.commands.opening import IN_FLIGHT, Every, InFlight, Key, Model, Url, open_clip
from clipserve.commands.printing import say
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.commands.vectors import listing
from clipserve.commands.vectors.files import VectorFileError, format_of
from clipserve.commands.vectors.listing import Item, VectorSource

_STDIN = "-"


def embed(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER|FILES|-", help="Folders and image files; - reads paths, one a line."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The file to make: NAME.npz or NAME.parquet.")],
    text: Annotated[
        Path | None, typer.Option(help="A file of texts, one a line, in place of images.")
    ] = None,
    truncate: Annotated[bool, typer.Option(help="Cut texts of too many tokens.")] = False,
    restart: Annotated[bool, typer.Option(help="Discard the vectors of --out and its journal.")] = False,
    prune: Annotated[bool, typer.Option(help="Drop rows of --out that are not named now.")] = False,
    every: Every = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Embed images into a file of vectors. After an interruption, the same command resumes.

    Folders are searched for images, without hidden files. Exit status: 0 if all have a vector; 1 if some have none,
    and the file says why, if nothing was found, or the command failed; 2 for wrong usage.
    """
    if bool(sources) == (text is not None):
        fail("name folders or image files, or - for their paths; or --text FILE alone.", status=WRONG_USE)
    check_file(out)
    if not os.path.isdir(out.parent):
        fail(f"there is no folder {out.parent} for --out.", status=WRONG_USE)
    source = _texts(text) if text is not None else _images(sources or [], every)
    prune = prune or source.kind == "text"

    async def embedded() -> int:
        async with open_clip(url, key, model, in_flight, exact=True) as clip:
            return await make(clip, source, out, truncate=truncate, restart=restart, prune=prune)

    run(embedded(), interrupted(out))


def interrupted(out: Path) -> str:
    """The message after an interruption."""
    return f"interrupted. What is done is in {out}.journal: the same command goes on from there."


def check_file(path: Path) -> None:
    """End the command if the name is not one of a file of vectors, or its format needs a missing package."""
    try:
        format_of(path)
    except VectorFileError as error:
        fail(str(error), status=WRONG_USE)


async def make(clip: AsyncMethods, source: VectorSource, out: Path, **how: bool) -> int:
    """`make_file`, and a summary on standard error; return the exit status."""
    from clipserve.commands.vectors.making import make_file  # loads SQLite

    made = await make_file(clip, source, out, **how)
    others = f", {made.others:,} of them from earlier and not named now" if made.others else ""
    say(f"{out}: {made.count:,} rows{others}; embedded now: {made.embedded:,}.", err=True)
    if left_out := listing.summary(source.left_out):
        say(left_out, err=True)
    if not made.failed:
        return 0
    say(f"{made.failed:,} have no vector:", err=True)
    for name, code, detail in made.failures:
        say(f"  {name}: {code}: {detail}", err=True)
    if rest := made.failed - len(made.failures):
        say(f"  and {rest:,} more: the file has all of them.", err=True)
    return 1


def _images(sources: list[str], every: float | None) -> VectorSource:
    if sources == [_STDIN]:

        def listed(left_out: Counter[str]) -> Iterator[Item]:
            lines = open(0, encoding=sys.getfilesystemencoding(), errors="surrogateescape", closefd=False)  # noqa: SIM115
            paths = (path for line in lines if (path := line.removesuffix("\n")))
            return listing.images(paths, left_out, every=every)

        return VectorSource("image", listed, countable=False)
    for source in sources:
        if not os.path.exists(source):  # Path.exists raises if a name is too long
            fail(f"there is no file or folder {listing.shown(source)}.", status=WRONG_USE)
    return VectorSource("image", lambda left_out: listing.images(sources, left_out, every=every))


def _texts(file: Path) -> VectorSource:
    is_stdin = str(file) == _STDIN
    if not is_stdin and not os.path.isfile(file):
        fail(f"there is no file {file}.", status=WRONG_USE)

    def read(_: Counter[str]) -> Iterator[Item]:
        # Bytes that are not UTF-8 are embedded as shown.
        opened = 0 if is_stdin else file
        with open(
            opened, encoding="utf-8", errors="backslashreplace", newline="\n", closefd=not is_stdin
        ) as lines:
            yield from listing.texts(lines)

    return VectorSource("text", read, countable=not is_stdin)

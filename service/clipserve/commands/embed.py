"""`clipserve embed`: the vectors of a folder of images in an index."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipserve.client.methods import AsyncMethods
from clipserve.commands.opening import IN_FLIGHT, Every, Force, InFlight, Json, Key, Model, Url, open_clip
from clipserve.commands.outputs import check_output, write_output
from clipserve.commands.printing import say, say_json
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.commands.vectors import listing
from clipserve.commands.vectors.listing import VectorSource
from clipserve.commands.vectors.places import index_of
from clipserve.settings import read_settings

if TYPE_CHECKING:  # it loads SQLite
    from clipserve.client.index import Index
    from clipserve.commands.vectors.updating import Updated

_STDIN = "-"
_SHOWN_FAILURES = 20


def embed(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER|FILES|-", help="Folders and image files; - reads paths, one a line."),
    ] = None,
    *,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The index. Default: that of the folder, if one folder alone is named."
        ),
    ] = None,
    npz: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also export the index as arrays of NumPy.")
    ] = None,
    prune: Annotated[
        bool, typer.Option(help="Drop rows of files that are not there, or not named, now.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Set the index aside, as INDEX.damaged, and make it again.")
    ] = False,
    force: Force = False,
    every: Every = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
    json: Json = False,
) -> None:
    """Embed images into an index that `search` uses. After an interruption, the same command goes on.

    Folders are searched for images, without hidden files.

    The index of a folder is FOLDER/.clipserve.sqlite; that of a read-only folder is in CLIPSERVE_CACHE_DIR.

    Exit status: 0 if all have a vector; 1 if one has none, or the command failed; 2 for wrong usage.
    """
    if not sources:
        fail("name folders or image files, or - for their paths.", status=WRONG_USE)
    if index is not None and not os.path.isdir(index.parent):
        fail(f"there is no folder {index.parent} for {index.name}.", status=WRONG_USE)
    folder = sources[0] if len(sources) == 1 and os.path.isdir(sources[0]) else None
    for path_or_folder in sources if sources != [_STDIN] else ():
        if not os.path.exists(path_or_folder):  # Path.exists raises if a name is too long
            fail(f"there is no file or folder {listing.shown(path_or_folder)}.", status=WRONG_USE)
    if folder is None and index is None:
        fail("say where the vectors go: --index FILE. Only a single folder has its own.", status=WRONG_USE)
    if index is None:
        source, place = images_in(Path(folder or ""), every), folder_index(Path(folder or ""))
    else:
        source, place = _images(sources, every), index
    if rebuild and place.exists():
        _set_aside(place)
    if npz is not None:
        check_output(npz, b"path.npy", place, force=force)  # the first array of an export

    async def embedded() -> int:
        from clipserve.client.index import Index

        async with open_clip(url, key, model, in_flight) as clip:
            with closing(Index(place)) as opened:
                done = await make(clip, source, opened, as_json=json, prune=prune)
                if npz is not None:
                    from clipserve.commands.vectors.npz import export

                    write_output(npz, partial(export, opened))
                return 1 if done.unread or opened.count("code != ''") else 0

    run(embedded(), interrupted(place))


def interrupted(index: Path) -> str:
    """The message after an interruption."""
    return f"interrupted. What is embedded is in {index}: the same command goes on from there."


def folder_index(folder: Path) -> Path:
    """The path of the index of a folder. Raises as `index_of`."""
    return index_of(folder, read_settings().cache_dir)


def images_in(folder: Path, every: float | None = None) -> VectorSource:
    """The images of a folder, named by their paths in it. Without `every`, frames of earlier runs stay."""
    root = str(folder)
    return VectorSource(
        lambda met: listing.images([root], met, root, every),
        followed=True,
        keeps=lambda name: every is None and listing.is_frame_of_a_video(name, root),
    )


async def make(
    clip: AsyncMethods, source: VectorSource, index: Index, *, as_json: bool = False, **how: bool
) -> Updated:
    """Bring the index up to date, with a summary on standard error. `how`: see `update`, which raises."""
    from clipserve.commands.progress import Shown  # loads rich
    from clipserve.commands.vectors.updating import update  # loads SQLite

    with Shown("images") as shown:
        done = await update(clip, source, index, shown, **how)
    for sentence in listing.summary(source.met, done.unread):
        say(sentence, err=True)
    for name in done.damaged:
        say(f"The vector of {name} was damaged: it is embedded again if its file is there.", err=True)
    if not (done.embedded or done.failed or how.get("retry", True)):
        return done  # nothing to tell: a search, and the index is up to date
    failed = index.count("code != ''")
    others = f", {done.others:,} of them from earlier and not named now" if done.others else ""
    say(f"{index.path}: {index.count():,} rows{others}; embedded now: {done.embedded:,}.", err=True)
    failures = [row for _, row in zip(range(_SHOWN_FAILURES), index.rows("code != ''"), strict=False)]
    if failures:
        say(f"failed: {failed:,}", err=True)
    for row in failures:
        say(f"  {row.name}: {row.code}: {row.detail}", err=True)
    if failed > len(failures):
        say(f"  and {failed - len(failures):,} more: --npz FILE has all of them.", err=True)
    if as_json and (facts := index.facts):
        about = {"index": str(index.path), "model": facts.model, "fingerprint": facts.fingerprint}
        say_json(about | {"rows": index.count(), "embedded": done.embedded, "failed": failed})
    return done


def _set_aside(place: Path) -> None:
    """With its journal, which belongs to no other index."""
    aside = Path(f"{place}.damaged")
    if os.path.lexists(aside):
        fail(f"{aside} is there already, from an earlier --rebuild: move it away, or delete it.")
    for suffix in ("-journal", ""):
        if os.path.exists(f"{place}{suffix}"):
            os.replace(f"{place}{suffix}", f"{aside}{suffix}")
    say(f"{aside} is the index of before.", err=True)


def _images(sources: list[str], every: float | None) -> VectorSource:
    return VectorSource(
        lambda met: listing.images(listing.named(sources), met, every=every),
        countable=sources != [_STDIN],
    )

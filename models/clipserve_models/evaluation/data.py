"""Labelled images: a folder of photos, CIFAR's files, or a table of paths."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from clipserve.client.images import ImageLike
from clipserve.commands.vectors.listing import SUFFIXES
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation import cifar

# Names of a table's columns, the more usual name first.
_PATH = ("path", "image", "file", "filename", "file_name", "filepath")
_CLASS = ("label", "class", "cls")
_CAPTION = ("caption", "text")


@dataclass(frozen=True)
class Item:
    """An image with its right classes or captions.

    Attributes:
        id: its place in the data, for people.
        image: a path, or pixels; see `clipserve.client.images.as_file`.
        classes: each the name or the number of a class, as the data have it; usually one.
        captions: sentences about it.
    """

    id: str
    image: ImageLike
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


def read_items(data: Path, keys: Collection[str] = ()) -> Iterator[Item]:
    """All items, in an order that depends on the data alone. `keys`: of the classes, for a folder of photos.

    Raises:
        ModelsError: the data have no known format, or are damaged.
    """
    try:
        if cifar.fits(data):
            for where, image, number in cifar.images(data):
                yield Item(where, image, (number,))
        elif data.suffix.lower() in (".csv", ".tsv"):
            yield from _table(data)
        elif data.is_dir():
            yield from _folder(data, keys)
        else:
            raise ModelsError(f"{data} is neither a folder of photos, CIFAR's files, .csv nor .tsv.")
    except (OSError, ValueError, csv.Error) as error:
        raise ModelsError(f"{data} cannot be read: {error}.") from None


def truths_of(items: Iterable[Item], data: Path, classes: object = None) -> list[Item]:
    """The items with their right answers, without images, which are read again, a few at a time.

    Raises:
        ModelsError: there is no item. `data`, `classes`: what it says was given.
    """
    if found := [replace(item, image=b"") for item in items]:
        return found
    raise ModelsError(f"{data} holds no image{f' with a class of {classes}' if classes else ''}.")


def labelled_photos(folder: Path, keys: Collection[str]) -> Iterator[tuple[Path, str]]:
    """The photos that have one of these keys, each with its key.

    A photo's key is the name of its folder (ImageNet's layout), or the part of its own name before the first `_`;
    without a `_` all of it, but no number: a camera or a script may have counted.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            begins, mark, _ = path.stem.partition("_")
            for key in (path.parent.name, begins if mark or not begins.isdecimal() else ""):
                if key in keys:
                    yield path, key
                    break


def _folder(folder: Path, keys: Collection[str]) -> Iterator[Item]:
    """With keys, the photos that have one; without keys, each folder in `folder` is a class."""
    if not keys and not (keys := [path.name for path in folder.iterdir() if path.is_dir()]):
        raise ModelsError(
            f"{folder} has no folder of photos in it, so nothing says their classes: put the photos of each class "
            "into a folder of its name, or give --classes FILE, whose keys begin the photos' names (KEY_1.jpg)."
        )
    for path, key in labelled_photos(folder, keys):
        yield Item(str(path.relative_to(folder)), path, (key,))


def _table(file: Path) -> Iterator[Item]:
    """A CSV or TSV with a header. Consecutive rows with the same path are one item."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        each = (_item(f"{file.name}, row {number}", row, file.parent) for number, row in enumerate(rows, 1))
        for image, same in groupby(each, lambda item: item.image):
            items = list(same)
            classes = sum((item.classes for item in items), ())
            yield Item(items[0].id, image, classes, sum((item.captions for item in items), ()))


def _item(where: str, row: Mapping[str, Any], root: Path) -> Item:
    """`root`: the folder that paths are relative to. Raises ValueError: no path, or neither class nor caption."""
    path, label, caption = (
        next((str(row[name]).strip() for name in names if row.get(name)), "")
        for names in (_PATH, _CLASS, _CAPTION)
    )
    if not path:
        raise ValueError(f"{where} has no path: name its column one of {', '.join(_PATH)}")
    if not (label or caption):
        raise ValueError(
            f"{where} has neither label nor caption: name its column {_CLASS[0]} or {_CAPTION[0]}"
        )
    return Item(where, root / path, (label,) if label else (), (caption,) if caption else ())

"""One item of labelled data, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipserve.client.images import ImageLike

# Names of columns in tables and of fields in JSON, the more usual name first.
_IMAGE = ("image", "img", "jpg", "png", "bytes", "path", "file", "filename", "file_name", "filepath")
_CLASS = ("label", "labels", "class", "cls", "fine_label")
_CAPTION = ("caption", "captions", "text", "texts", "sentences")


@dataclass(frozen=True)
class Item:
    """An image with its right classes or captions.

    Attributes:
        id: its place in the data, for people.
        image: a path, the bytes of a file, or pixels; see `clipserve.client.images.as_file`.
        classes: each the name or the number of a class, as the data have it; usually one.
        captions: sentences about it.
    """

    id: str
    image: ImageLike
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


def item_of(where: str, fields: Mapping[str, Any], root: Path) -> Item:
    """The item of a row. `root`: the folder that its path is relative to.

    Raises:
        ValueError: it has no image, or neither a class nor a caption.
    """
    image = next((fields[name] for name in _IMAGE if fields.get(name) is not None), None)
    if isinstance(image, Mapping):  # as the library `datasets` keeps images in Parquet
        image = image.get("bytes") or image.get("path")
    if isinstance(image, str):
        image = root / image
    if not isinstance(image, bytes | Path):
        raise ValueError(f"{where} has no image: name its column one of {', '.join(_IMAGE)}")
    classes, captions = _all(fields, _CLASS), _all(fields, _CAPTION)
    if not classes and not captions:
        raise ValueError(
            f"{where} has neither label nor caption: name its column {_CLASS[0]} or {_CAPTION[0]}"
        )
    return Item(where, image, classes, captions)


def _all(fields: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """The values of the first of these columns that the row has."""
    found = next((fields[name] for name in names if fields.get(name) not in (None, "")), ())
    each = found if isinstance(found, list | tuple) else (found,)
    return tuple(str(value).strip() for value in each)

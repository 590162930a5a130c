"""What is to be embedded, in an order that depends on the names alone: files in folders, or lines of text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from clipserve.clip.formats import FORMATS

# Of every format that some setting lets a service decode. What is not accepted is told, and not passed over.
_OTHER_SUFFIXES = {"JPEG": (".jpg", ".jpe", ".jfif"), "TIFF": (".tif",)}
SUFFIXES = frozenset(
    suffix for name in FORMATS for suffix in (f".{name.lower()}", *_OTHER_SUFFIXES.get(name, ()))
)

Kind = Literal["image", "text"]


@dataclass(frozen=True)
class Item:
    """One row to be.

    Attributes:
        key: names it in the journal; for an image its path as the file of vectors has it.
        path: of an image file, for the system.
        text: a line, if it is that.
        size: bytes; `modified`: nanoseconds since 1970. Both 0 for a text, and where the system does not tell them.
    """

    key: str
    path: str = ""
    text: str | None = None
    size: int = 0
    modified: int = 0


@dataclass(frozen=True)
class VectorSource:
    """What is to be embedded. `items`: lists it anew at each call. `countable`: it can be listed twice."""

    kind: Kind
    items: Callable[[], Iterator[Item]]
    countable: bool = True


def images(sources: Iterable[str], root: str | None = None) -> Iterator[Item]:
    """The named files, and in folders all files with a known suffix, without hidden ones, sorted by name.

    A folder that is reached twice, by symbolic links, is taken once. One that cannot be read is an item, which then
    fails as a file does, and so is a link that leads to itself. `root`: keys are relative to it.
    """
    seen: set[tuple[int, int]] = set()
    for source in sources:
        found = _walk(source, seen) if os.path.isdir(source) else iter((source,))
        for path in found:
            yield _item(path, root)


def texts(lines: Iterable[str]) -> Iterator[Item]:
    """One item a line, without its end; empty lines too, so that the row's number is that of the line."""
    for number, line in enumerate(lines):
        text = line.removesuffix("\n").removesuffix("\r")
        yield Item(f"{number}:{text}", text=text)


def text_of(key: str) -> str:
    """The line of a text's key."""
    return key.partition(":")[2]


def paths(lines: TextIO) -> Iterator[str]:
    """One path a line; empty lines are none."""
    for line in lines:
        if path := line.removesuffix("\n"):
            yield path


def shown(path: str) -> str:
    """A path as text: bytes that are not UTF-8, which names of files may have, as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(top: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    waiting = [(top, True)]
    while waiting:
        path, is_folder = waiting.pop()
        with suppress(OSError):  # a folder that cannot be read fails as a file does
            if is_folder:
                waiting += reversed(_entries(path, seen))
                continue
        yield path


def _entries(folder: str, seen: set[tuple[int, int]]) -> list[tuple[str, bool]]:
    """(path, whether it is a folder) of what is in it and may be embedded. Raises OSError: it cannot be read."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return []
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: os.fsencode(entry.name))
    found = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
            wanted = is_folder or (Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file())
        except OSError:  # of this entry alone, as of a link that leads to itself: it fails as a file does
            is_folder, wanted = False, True
        if wanted:
            found.append((entry.path, is_folder))
    return found


def _item(path: str, root: str | None) -> Item:
    key = shown(path if root is None else os.path.relpath(path, root))
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Item(key, path)
    return Item(key, path, None, status.st_size, status.st_mtime_ns)

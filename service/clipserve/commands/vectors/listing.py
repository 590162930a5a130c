"""Lists the images to embed, files and folders of them, in an order that depends only on the names."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from clipserve.client.errors import UNREADABLE, ItemFailed
from clipserve.client.images import read_file
from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.commands.vectors import frames

# Every format that a setting can allow here. A file that the service refuses is reported, not skipped.
_OTHER_SUFFIXES = {
    "JPEG": (".jpg", ".jpe", ".jfif"),
    "PNG": (".apng",),
    "TIFF": (".tif",),
    "HEIC": (".heif",),
}
_NAMES = (*FORMATS, *(OPTIONAL if find_spec("pillow_heif") else ()))
SUFFIXES = frozenset(
    suffix for name in _NAMES for suffix in (f".{name.lower()}", *_OTHER_SUFFIXES.get(name, ()))
)

_SHOWN_SUFFIXES, _SHOWN_UNREAD = 5, 20


@dataclass(frozen=True)
class Item:
    """An item to embed: a future row.

    Attributes:
        key: its name in the index.
        path: of its file, for the system.
        size: bytes; `modified`: nanoseconds since 1970. Both 0 if the system does not report them.
        at: of a frame: its second in the video.
        failed: why there is nothing to embed: no frame of the video can be taken, or the system cannot look at it.
    """

    key: str
    path: str
    size: int = 0
    modified: int = 0
    at: float | None = None
    failed: ItemFailed | None = None

    def image(self) -> bytes:
        """The image file, or the frame as one. Raises ItemFailed: it cannot be read."""
        if self.failed:
            raise self.failed
        return read_file(self.path) if self.at is None else frames.frame(self.path, self.at)


@dataclass(frozen=True)
class Met:
    """What a listing met beside the items; paths are as in the keys of items.

    Attributes:
        left_out: the number of files with another suffix, by suffix.
        read: folders that were read and are not empty, as the place of a drive that is not mounted is.
        unread: why a folder or a file could not be looked at. Its rows stay.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    read: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)

    def is_gone(self, name: str) -> bool:
        """Whether a name that is not among the items is no longer there: its own folder was read, without it."""
        return os.path.dirname(name) in self.read and not self.hides(name)

    def hides(self, name: str) -> bool:
        """Whether it could not be looked at, or files with its suffix are left out."""
        path = name.rpartition(frames.AT)[0] or name
        while path not in self.unread and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return path in self.unread or Path(name).suffix.lower() in self.left_out


@dataclass(frozen=True)
class VectorSource:
    """The items to embed.

    Attributes:
        items: lists them, again at each call, and adds to its argument.
        countable: they can be listed twice.
        followed: the index follows them: a row leaves it when its file is gone.
        keeps: whether a name that is not among the items stays in an index that follows them.
        met: what was met when they were embedded.
    """

    items: Callable[[Met], Iterator[Item]]
    countable: bool = True
    followed: bool = False
    keeps: Callable[[str], bool] = lambda _: False
    met: Met = field(default_factory=Met)


def named(sources: Sequence[str]) -> Iterator[str]:
    """The sources, or the lines of standard input for `-` alone."""
    if list(sources) != ["-"]:
        yield from sources
        return
    encoding = sys.getfilesystemencoding()
    with open(0, encoding=encoding, errors="surrogateescape", closefd=False) as lines:
        yield from (path for line in lines if (path := line.removesuffix("\n")))


def images(
    sources: Iterable[str], met: Met, root: str | None = None, every: float | None = None
) -> Iterator[Item]:
    """The named files, and in folders all files with a known suffix, without hidden ones, sorted by name.

    A folder that symbolic links reach twice is listed once. What cannot be looked at, as an unreadable folder or a
    link that leads nowhere, becomes an item that fails. `met`: is added to. `root`: keys are relative to it.
    `every`: take a frame of videos in so many seconds; see `frames.times`.

    Raises:
        ClipserveError: there is a video, and the package that reads videos is missing.
    """
    suffixes = SUFFIXES if every is None else SUFFIXES | frames.VIDEOS
    seen: set[tuple[int, int]] = set()
    for source in sources:
        found = _walk(source, seen, met, suffixes, root) if os.path.isdir(source) else iter((source,))
        for path in found:
            item = _item(path, root, met)
            if every is None or item.failed or not frames.is_video(path):
                yield item
            else:
                yield from _frames(item, every)


def is_frame_of_a_video(name: str, root: str = "") -> bool:
    """Whether it is the name of a frame whose video is there. `root`: as in `images`."""
    path, at, _ = name.rpartition(frames.AT)
    return bool(at) and os.path.isfile(os.path.join(root, path))


def summary(met: Met, unread: dict[str, str] | None = None) -> list[str]:
    """Sentences about files that were left out, and the first of what is `unread`: see `updating.Updated`."""
    unread, left_out = unread or {}, met.left_out
    said = [f"Could not read {path or '.'}, whose rows stay: {why}." for path, why in sorted(unread.items())]
    if len(said) > _SHOWN_UNREAD:
        said[_SHOWN_UNREAD:] = [f"Could not read {len(said) - _SHOWN_UNREAD:,} more."]
    if not left_out:
        return said
    counts = [
        f"{count:,} {suffix or 'without a suffix'}" for suffix, count in left_out.most_common(_SHOWN_SUFFIXES)
    ]
    if others := len(left_out) - len(counts):
        counts.append(f"and files of {others:,} more suffixes")
    videos = " Frames of videos: --every SECONDS." if frames.VIDEOS & left_out.keys() else ""
    return [*said, f"Skipped {', '.join(counts)}. Name a file to force it.{videos}"]


def shown(path: str) -> str:
    """A path as text, of no other path. Bytes that are not UTF-8 become escapes such as `\\xff`."""
    return re.sub(rb"\\(?=x(5c|[89a-f][0-9a-f]))", rb"\\x5c", os.fsencode(path)).decode(
        "utf-8", "backslashreplace"
    )


def _walk(
    top: str, seen: set[tuple[int, int]], met: Met, suffixes: Collection[str], root: str | None
) -> Iterator[str]:
    """The files to embed, and what cannot be looked at. `met`, `root`: see `images`."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            status = os.stat(path)
            is_folder, identity = stat.S_ISDIR(status.st_mode), (status.st_dev, status.st_ino)
            names = os.listdir(path) if is_folder and identity not in seen else []
        except OSError as error:  # an unreadable folder, or a link to nothing or to itself
            if not isinstance(error, FileNotFoundError) or os.path.lexists(
                path
            ):  # else it is deleted meanwhile
                met.unread[_key(path, root)] = str(error.strerror)
                yield path
            continue
        if is_folder:
            if names or identity in seen:
                met.read.add(_key(path, root))
            seen.add(identity)
            names.sort(key=os.fsencode, reverse=True)
            waiting += (os.path.join(path, name) for name in names if not name.startswith("."))
        elif stat.S_ISREG(status.st_mode):
            suffix = Path(path).suffix.lower()
            if suffix in suffixes:
                yield path
            else:
                met.left_out[suffix] += 1


def _frames(item: Item, every: float) -> Iterator[Item]:
    try:
        times = frames.times(item.path, every)
    except ItemFailed as error:
        yield replace(item, key=f"{item.key}{frames.AT}0", at=0.0, failed=error)
        return
    for at in times:
        second = f"{at:.3f}".rstrip("0").rstrip(".")
        yield replace(item, key=f"{item.key}{frames.AT}{second}", at=at)


def _key(path: str, root: str | None) -> str:
    """The name of a file's row, or of a folder what its files' names have before their last slash."""
    inside = os.path.join(path, "-")
    return os.path.dirname(shown(inside if root is None else os.path.relpath(inside, root)))


def _item(path: str, root: str | None, met: Met) -> Item:
    if (key := _key(path, root)) in met.unread:
        return Item(key, path, failed=ItemFailed(f"{met.unread[key]}.", UNREADABLE))
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        met.unread[key] = getattr(error, "strerror", None) or str(error)
        return Item(key, path)
    return Item(key, path, status.st_size, status.st_mtime_ns)

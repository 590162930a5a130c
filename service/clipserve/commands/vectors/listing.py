"""Lists the images to embed, files and folders of them, in an order that depends only on the names."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from clipserve.client.errors import ItemFailed
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

_SHOWN_SUFFIXES = 5


@dataclass(frozen=True)
class Item:
    """An item to embed: a future row.

    Attributes:
        key: its name in the index.
        path: of its file, for the system.
        size: bytes; `modified`: nanoseconds since 1970. Both 0 if the system does not report them.
        at: of a frame: its second in the video.
        failed: why no frame of the video can be taken.
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
class VectorSource:
    """The items to embed.

    Attributes:
        items: lists them, again at each call, and counts in its argument what it leaves out, by suffix.
        countable: they can be listed twice.
        keeps: whether a name that is not among the items stays in an index that follows them.
        left_out: what was left out when they were embedded.
    """

    items: Callable[[Counter[str]], Iterator[Item]]
    countable: bool = True
    keeps: Callable[[str], bool] = lambda _: False
    left_out: Counter[str] = field(default_factory=Counter)


def named(sources: Sequence[str]) -> Iterator[str]:
    """The sources, or the lines of standard input for `-` alone."""
    if list(sources) != ["-"]:
        yield from sources
        return
    encoding = sys.getfilesystemencoding()
    with open(0, encoding=encoding, errors="surrogateescape", closefd=False) as lines:
        yield from (path for line in lines if (path := line.removesuffix("\n")))


def images(
    sources: Iterable[str], left_out: Counter[str], root: str | None = None, every: float | None = None
) -> Iterator[Item]:
    """The named files, and in folders all files with a known suffix, without hidden ones, sorted by name.

    A folder that symbolic links reach twice is listed once. An unreadable folder, or a link to itself, becomes an
    item that fails like a file. `left_out`: counts files with another suffix. `root`: keys are relative to it.
    `every`: take a frame of videos in so many seconds; see `frames.times`.

    Raises:
        ClipserveError: there is a video, and the package that reads videos is missing.
    """
    suffixes = SUFFIXES if every is None else SUFFIXES | frames.VIDEOS
    seen: set[tuple[int, int]] = set()
    for source in sources:
        found = _walk(source, seen, left_out, suffixes) if os.path.isdir(source) else iter((source,))
        for path in found:
            item = _item(path, root)
            if every is None or not frames.is_video(path):
                yield item
            else:
                yield from _frames(item, every)


def is_frame_of_a_video(name: str, root: str = "") -> bool:
    """Whether it is the name of a frame whose video is there. `root`: as in `images`."""
    path, at, _ = name.rpartition(frames.AT)
    return bool(at) and os.path.isfile(os.path.join(root, path))


def summary(left_out: Counter[str]) -> str:
    """A sentence about the files that were left out; empty: there were none."""
    if not left_out:
        return ""
    counts = [
        f"{count:,} {suffix or 'without a suffix'}" for suffix, count in left_out.most_common(_SHOWN_SUFFIXES)
    ]
    if others := len(left_out) - len(counts):
        counts.append(f"and files of {others:,} more suffixes")
    videos = " Frames of videos: --every SECONDS." if frames.VIDEOS & left_out.keys() else ""
    return f"Skipped {', '.join(counts)}. Name a file to force it.{videos}"


def shown(path: str) -> str:
    """A path as text. Bytes that are not UTF-8 become escapes such as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(
    top: str, seen: set[tuple[int, int]], left_out: Counter[str], suffixes: Collection[str]
) -> Iterator[str]:
    """The files to embed, and what cannot be looked at, which then fails like a file. `left_out`: see `images`."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            status = os.stat(path)
            is_folder, identity = stat.S_ISDIR(status.st_mode), (status.st_dev, status.st_ino)
            names = os.listdir(path) if is_folder and identity not in seen else []
        except FileNotFoundError:  # a link to nothing
            continue
        except OSError:  # an unreadable folder, or a link to itself
            yield path
            continue
        if is_folder:
            seen.add(identity)
            names.sort(key=os.fsencode, reverse=True)
            waiting += (os.path.join(path, name) for name in names if not name.startswith("."))
        elif stat.S_ISREG(status.st_mode):
            suffix = Path(path).suffix.lower()
            if suffix in suffixes:
                yield path
            else:
                left_out[suffix] += 1


def _frames(item: Item, every: float) -> Iterator[Item]:
    try:
        times = frames.times(item.path, every)
    except ItemFailed as error:
        yield replace(item, key=f"{item.key}{frames.AT}0", at=0.0, failed=error)
        return
    for at in times:
        second = f"{at:.3f}".rstrip("0").rstrip(".")
        yield replace(item, key=f"{item.key}{frames.AT}{second}", at=at)


def _item(path: str, root: str | None) -> Item:
    key = shown(path if root is None else os.path.relpath(path, root))
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Item(key, path)
    return Item(key, path, status.st_size, status.st_mtime_ns)

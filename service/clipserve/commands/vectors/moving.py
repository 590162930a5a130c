"""Frames of moving GIF, PNG and WebP, which are decoded from the first one on: these formats have no other way."""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from PIL import Image, ImageSequence

from clipserve.client.errors import ItemFailed
from clipserve.client.images import read_file
from clipserve.clip.formats import sniff
from clipserve.clip.headers import Parts, walk
from clipserve.clip.images import ImageLimits, check_size, opened
from clipserve.errors import ClipError, ImageTooLarge, UndecodableImage
from clipserve.files import regular

FORMATS = ("GIF", "PNG", "WEBP")

_LIMITS = ImageLimits()
_MAX_FRAMES = 2_000
_QUALITY = 95  # of a JPEG, which loses less than a video has lost
_UNSAID_MS = 100  # a frame whose duration is 0 is shown for so long, in browsers too
# Frames that one pass over a file keeps, so that it is not decoded again for each frame.
_KEPT_FRAMES, _KEPT_PIXELS = 32, 32_000_000
_GIF_FRAME, _GIF_EXTENSION, _GIF_END = b",!;"
_one_at_a_time = threading.Lock()


class _Timeline(NamedTuple):
    """`ends`: the second at which each frame ends, ascending. `kept`: frames to keep of a pass."""

    ends: list[float]
    kept: int


def is_moving(path: str) -> bool:
    """Whether the file is an image of several frames. Not one that is broken or too large: it fails as an image."""
    try:
        with open(regular(path), "rb") as file:
            name = sniff(file.read(64), FORMATS)
        if name == "GIF":
            _check_canvas(read_file(path))
        with Image.open(path, formats=[name]) as image:
            check_size(image.size, _LIMITS)
            return bool(getattr(image, "is_animated", False))
    except Exception:  # from a decoder, as in clipserve.clip.images
        return False


def times(path: str, every: float) -> Iterator[float]:
    """The multiples of `every`, in seconds, at which another frame is shown than at the one before.

    0: the second at which each frame appears. A file that is over a limit, or broken, has the time 0, at which
    `frame` fails.
    """
    try:
        ends = _timeline(path, _modified(path)).ends
    except ItemFailed:
        yield 0.0
        return
    if not every:
        yield from (0.0, *ends[:-1])
        return
    number = 0
    while (at := number * every) < ends[-1]:
        yield at
        number = max(number + 1, math.ceil(ends[bisect_right(ends, at)] / every))


def frame(path: str, at: float) -> bytes:
    """The frame that is shown at this second, as a JPEG.

    Raises:
        ItemFailed: the file is broken, or over a limit of images or of frames.
    """
    with _one_at_a_time:  # or several threads would decode the same frames
        modified = _modified(path)
        ends, kept = _timeline(path, modified)
        number = min(bisect_right(ends, at), len(ends) - 1)
        return _jpegs(path, modified, number - number % kept, kept)[number % kept]


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _modified(path: str) -> int:
    """It tells a changed file from the one whose frames are kept."""
    with contextlib.suppress(OSError, ValueError):  # reading it says why
        return os.stat(path).st_mtime_ns
    return 0


@lru_cache(maxsize=8)
def _timeline(path: str, modified: int) -> _Timeline:  # noqa: ARG001
    ends, milliseconds, pixels = [], 0.0, 1
    for image in _frames(path):
        milliseconds += image.info.get("duration") or _UNSAID_MS
        ends.append(milliseconds / 1_000)
        pixels = image.width * image.height
    if not ends:
        raise ItemFailed("the moving image has no frame.", UndecodableImage.code)
    return _Timeline(ends, max(1, min(_KEPT_FRAMES, _KEPT_PIXELS // pixels)))


@lru_cache(maxsize=2)
def _jpegs(path: str, modified: int, first: int, count: int) -> list[bytes]:  # noqa: ARG001
    return [jpeg(image) for image in islice(_frames(path), first, first + count)]


def _frames(path: str) -> Iterator[Image.Image]:
    """The frames, decoded one after the other in one object. Raises ItemFailed."""
    try:
        data = read_file(path)
        name = sniff(data, FORMATS)
        walk(
            name, data, Parts(_LIMITS.max_image_segments, _LIMITS.max_image_metadata_bytes, _LIMITS.max_scans)
        )
        if name == "GIF":
            _check_canvas(data)
        with opened(name, data) as image:
            for number, each in enumerate(ImageSequence.Iterator(image)):
                check_size(each.size, _LIMITS)
                most = min(_MAX_FRAMES, _LIMITS.max_scan_pixels // (each.width * each.height))
                if number == most:
                    raise ImageTooLarge(
                        f"the moving image has more than {most:,} frames of {each.width} x {each.height}, the "
                        "limit. Make a video of it: videos may have any number.",
                        limit=most,
                    )
                each.load()  # before, a WebP does not say the duration
                yield each
    except ItemFailed:
        raise
    except ClipError as error:
        raise ItemFailed(error.detail, error.code) from None
    except Exception:  # from a decoder, as in clipserve.clip.images
        raise ItemFailed(
            "a frame of the moving image is broken or cut short.", UndecodableImage.code
        ) from None


def _check_canvas(data: bytes) -> None:
    """Raises ValueError: a GIF has a frame outside of its canvas, for which Pillow would make room."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _colors(flags)
    while at < len(data) and data[at] != _GIF_END:
        if data[at] == _GIF_FRAME:
            x, y, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if x + frame_width > width or y + frame_height > height:
                raise ValueError("outside of the canvas")
            at += 10 + _colors(flags) + 1
        elif data[at] == _GIF_EXTENSION:
            at += 2
        else:
            at += 1  # Pillow skips it too
            continue
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1


def _colors(flags: int) -> int:
    """The bytes of a GIF's table of colors."""
    return 6 << (flags & 7) if flags & 0x80 else 0

"""Frames of videos: `clip.mp4#t=12` names the one at 12 seconds, as media fragments of the web do."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.errors import UndecodableImage

if TYPE_CHECKING:
    import av
    from PIL import Image

SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))

_QUALITY = 95  # of a JPEG, which loses less than the video has lost


def check_installed() -> None:
    """Raises ClipserveError: the package that reads videos is missing."""
    if not find_spec("av"):
        raise ClipserveError(
            "videos need the package av, which is not installed: pip install 'clipserve[video]'"
        )


def times(path: str, every: float) -> Iterator[float]:
    """The seconds at which frames are taken: one in `every` seconds; 0: the key frames, as at most scene changes.

    A file that is no video has the time 0, at which `frame` fails.
    """
    import av

    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            if not every:
                for packet in container.demux(stream):
                    if packet.is_keyframe and packet.pts is not None:
                        yield float((packet.pts - (stream.start_time or 0)) * packet.time_base)
                return
            seconds = (container.duration or 0) / av.time_base
    except (OSError, ValueError, IndexError):  # PyAV's own errors are subclasses of these
        yield 0.0
        return
    yield from (number * every for number in range(max(1, math.ceil(seconds / every))))


def frame(path: str, at: float) -> bytes:
    """The frame that is shown at this second, upright, as a JPEG. It holds one frame at a time in memory.

    Raises:
        ItemFailed: the file is no video, or is broken there.
    """
    import av

    try:
        with av.open(path) as container:
            return _jpeg(_shown(container, at))
    except (OSError, ValueError, IndexError, StopIteration) as error:
        raise ItemFailed(
            f"no frame of the video can be read at {at:g} s: {error}", UndecodableImage.code
        ) from None


def _shown(container: av.container.InputContainer, at: float) -> av.VideoFrame:
    stream = container.streams.video[0]
    first, tick = stream.start_time or 0, stream.time_base or Fraction(1, 1_000_000)
    container.seek(first + int(at / tick), stream=stream)  # to a key frame before it
    frames = container.decode(stream)
    shown = next(frames)
    for following in frames:
        if following.pts is not None and (following.pts - first) * tick > at:
            break
        shown = following
    return shown


def _jpeg(frame: av.VideoFrame) -> bytes:
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()

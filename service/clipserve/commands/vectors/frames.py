"""Frames of videos and of moving images: `clip.mp4#t=12` names the one at 12 seconds, as media fragments do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.commands.vectors import moving
from clipserve.errors import UndecodableImage

if TYPE_CHECKING:
    import av
    from PIL import Image

VIDEOS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))


def times(path: str, every: float) -> Iterator[float | None]:
    """The seconds at which frames are taken: one in `every` seconds. None alone: it is a still image.

    0 takes the key frames of a video, as at most scene changes, and each frame of a moving GIF, PNG or WebP, of
    which no frame is taken twice, however long it is shown. A file that is no video has the time 0, at which
    `frame` fails.

    Raises:
        ClipserveError: it is a video, and the package that reads videos is missing.
    """
    if Path(path).suffix.lower() in VIDEOS:
        yield from _times_of_video(path, every)
    elif not moving.is_moving(path):
        yield None
    else:
        yield from moving.times(path, every)


def frame(path: str, at: float) -> bytes:
    """The frame that is shown at this second, upright, as a JPEG. It holds few frames at a time in memory.

    Raises:
        ItemFailed: the file is no video, or is broken there, or a moving image is over a limit.
    """
    return _frame_of_video(path, at) if Path(path).suffix.lower() in VIDEOS else moving.frame(path, at)


def _times_of_video(path: str, every: float) -> Iterator[float]:
    if not find_spec("av"):
        raise ClipserveError(
            "videos need the package av, which is not installed: pip install 'clipserve-core[video]'"
        )
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


def _frame_of_video(path: str, at: float) -> bytes:
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
    return moving.jpeg(image.rotate(frame.rotation, expand=True) if frame.rotation else image)

"""Frames of videos: `clip.mp4#t=12` names the one at 12 seconds, as media fragments do."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.errors import ImageTooLarge, UndecodableImage

if TYPE_CHECKING:
    import av
    from PIL import Image

VIDEOS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))
AT = "#t="  # between the path and the second
# A header may claim anything, and a row is made for each frame that it promises.
MAX_FRAMES = 20_000  # rows of one video: more than five hours of one a second
MAX_PIXELS = 8_192 * 4_320  # of a frame: 8K. Decoders keep up to 16 of them.
_QUALITY = 95  # of a JPEG, which loses less than the video has lost
_BROKEN = (OSError, ValueError, IndexError, StopIteration, ArithmeticError)  # PyAV's errors are subclasses


def is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEOS


def times(path: str, every: float) -> list[float]:
    """The seconds at which frames of a video are taken: one in `every` seconds; 0: its key frames.

    Raises:
        ItemFailed: it is no video, is broken, or is over a limit.
        ClipserveError: the package that reads videos is missing.
    """
    if not find_spec("av"):
        raise ClipserveError(
            "videos need the package av, which is not installed: pip install 'clipserve-core[video]'"
        )
    import av

    with _opened(path, "at its beginning") as (container, stream):
        if not every:
            return _key_frames(container, stream)
        seconds = (container.duration or 0) / av.time_base
    count = max(1, math.ceil(seconds / every))
    if count > MAX_FRAMES:
        fewer = f"Take fewer: --every {math.ceil(seconds / MAX_FRAMES)}"
        said = f"{count:,} frames, one in {every:g} s of {seconds:,.0f} s. {fewer}"
        raise _too_large(said, MAX_FRAMES, "frames")
    return [number * every for number in range(count)]


def frame(path: str, at: float) -> bytes:
    """The frame that is shown at this second, upright, as a JPEG. It holds few frames at a time in memory.

    Raises:
        ItemFailed: the file is no video, is broken there, or is over a limit.
    """
    with _opened(path, f"at {at:g} s") as (container, stream):
        return _jpeg(_shown(container, stream, at))


@contextmanager
def _opened(
    path: str, where: str
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The video and its first stream, within the limits. `where`: in the message about what is broken."""
    import av

    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec.width * codec.height > MAX_PIXELS:
                said = f"frames of {codec.width} x {codec.height}. Make a smaller video of it"
                raise _too_large(said, MAX_PIXELS, "pixels")
            codec.options = {"max_pixels": str(MAX_PIXELS)}  # of later frames, which may have another size
            yield container, stream
    except _BROKEN as error:
        raise ItemFailed(
            f"no frame of the video can be read {where}: {error}", UndecodableImage.code
        ) from None


def _key_frames(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> list[float]:
    found = []
    for packet in container.demux(stream):
        if packet.is_keyframe and packet.pts is not None:
            found.append(float((packet.pts - (stream.start_time or 0)) * packet.time_base))
        if len(found) > MAX_FRAMES:
            said = "more key frames. Take one in some seconds: --every SECONDS"
            raise _too_large(said, MAX_FRAMES, "frames")
    return found or [0.0]


def _shown(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, at: float
) -> av.VideoFrame:
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
    file = io.BytesIO()
    upright = image.rotate(frame.rotation, expand=True) if frame.rotation else image
    upright.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _too_large(what: str, limit: int, unit: str) -> ItemFailed:
    error = ImageTooLarge(f"the video has {what}. The limit is {limit:,} {unit}.", limit=limit)
    return ItemFailed(error.detail, error.code)

"""Images of a program, as the bytes of an image file; and a check that a list of items is a list."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union

import numpy as np
import numpy.typing as npt

from clipserve.client.errors import UNREADABLE, ItemFailed
from clipserve.errors import BodyTooLarge
from clipserve.files import read_bounded

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

ImageLike = Union[str, Path, bytes, "Image.Image", npt.NDArray[np.uint8]]
# In its own mode: resizing a palette differs from resizing its colours.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_MAX_FILE_BYTES = 20_000_000  # as CLIPSERVE_MAX_BODY_BYTES, the limit over a network


def as_file(image: ImageLike) -> bytes:
    """The bytes of an image file: the file's own, or a PNG of the pixels. PIL images are turned upright by EXIF.

    Raises:
        ItemFailed: the file cannot be read.
        TypeError, ValueError: it is not an image, or an array that is not uint8 [H, W, 3].
    """
    if isinstance(image, str | Path):
        return read_file(image)
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        return _png(_pixels(image))
    pillow = sys.modules.get("PIL.Image")  # whoever has one of its images has loaded it
    if pillow and isinstance(image, pillow.Image):
        from PIL import ImageOps

        return _png(ImageOps.exif_transpose(image))
    raise TypeError(
        f"an image is a path, bytes, a PIL image or an array uint8 [H, W, 3], not {type(image).__name__}."
    )


def listed(items: Iterable[T]) -> Sequence[T]:
    """The items as a list. Raises TypeError for a single item: a str and bytes are iterable too."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise TypeError(f"this takes a list of items, not one {type(items).__name__}: put it in brackets.")
    if isinstance(items, np.ndarray) and items.ndim == 3:
        raise TypeError("this takes a list of images: [array], or an array [N, H, W, 3].")
    return list(items)


def read_file(path: str | Path) -> bytes:
    """The content of a regular file. Raises ItemFailed: it is none, cannot be read, or is larger than the limit."""
    try:
        return read_bounded(path, _MAX_FILE_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ItemFailed(
                f"the file has more than {_MAX_FILE_BYTES:,} bytes, the limit. Make a smaller image of it.",
                BodyTooLarge.code,
            ) from None
        no_file = "it is not a file, or a folder that cannot be read"
        reason = no_file if error.errno == errno.EINVAL else error.strerror
    except ValueError:
        reason = "its name is not one of a file"
    raise ItemFailed(f"{reason}.", UNREADABLE)


def _pixels(array: npt.NDArray[Any]) -> Image.Image:
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        shape = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"an array must be uint8 [H, W, 3], in RGB; this one is {shape}.")
    return Image.fromarray(array)


def _png(image: Image.Image) -> bytes:
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # a fifth of the time for some more bytes
    return file.getvalue()

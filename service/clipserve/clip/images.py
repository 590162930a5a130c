"""Image bytes -> the pixels that the image encoder expects, equal to the reference transform.

The reference (openai/CLIP and open_clip, torchvision on Pillow) resizes *before* it converts to RGB. So a
palette or 1-bit image is resized by nearest neighbour and an RGBA image with premultiplied alpha; the other order
gives other pixels. The steps here keep that order. Every limit is checked on the header, before a pixel is decoded,
because C decoders cannot be interrupted.

To import this changes nothing of Pillow's, because a program may import it that uses Pillow itself. A process of
clipserve's own calls `configure_pillow`.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import PIL._imaging
from PIL import Image

from clipserve.clip.fitting import decode_bytes, fitted, upright
from clipserve.clip.formats import sniff
from clipserve.clip.headers import SCANS, Parts, check_whole, walk
from clipserve.clip.resampling import allocate_in_one_block
from clipserve.errors import ImageTooLarge, UndecodableImage, check_limit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clipserve.clip.manifest import ImageSpec

# Load the decoders now, not during the first malformed request.
Image.init()

# Scaled decoding is for photos of more pixels than the first number. The decoded side is at least the second number
# times the encoder's: with less, the decoder's filter affects the result.
_SCALED_ABOVE, _SCALED_MARGIN = 2_000_000, 3
_COEFFICIENT_BYTES = 2  # of a pixel and band, which libjpeg keeps of a file of several scans
_ANY_DENSITY_BYTES = 100_000_000  # of memory, as for decoding a photo of 20 megapixels


def configure_pillow() -> None:
    """Set what Pillow has once for a process. Only for processes that are clipserve's own."""
    # Pillow's own check (an error at 179 megapixels) does not know our limit, which is lower.
    Image.MAX_IMAGE_PIXELS = None
    # Pillow would print a warning for each photo with a broken EXIF block.
    warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
    # libtiff would print a file's faults to standard error; Pillow raises them anyway. A system's own libtiff may
    # not be reachable.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(PIL._imaging.__file__).TIFFSetErrorHandler(None)
    allocate_in_one_block()


@dataclass(frozen=True)
class ImageLimits:
    """The limits and options of decoding. Sizes are in pixels of the header, before any rotation."""

    image_formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP")
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_aspect: float = 100.0
    max_scans: int = 100
    max_scan_pixels: int = 500_000_000  # encoders write 10 scans for a progressive photo
    max_pixels_per_byte: int = 60  # the most of 61 photos as WebP of quality 50 was 45
    max_image_segments: int = 1_000
    max_image_metadata_bytes: int = 8_000_000  # phones store previews and depth maps of some megabytes there
    exif_transpose: bool = True
    scaled_decode: bool = False

    @property
    def choices(self) -> list[str]:
        """The options here that change vectors, for `ModelManifest.fingerprint`; none by default."""
        changed = {"exif_transpose=false": not self.exif_transpose, "scaled_decode=true": self.scaled_decode}
        return [choice for choice in changed if changed[choice]]


class ImageHeader(NamedTuple):
    """What is known of an image before it is decoded. `decode_bytes`: the most memory that decoding it takes."""

    pixels: int
    decode_bytes: int


class Decoded(NamedTuple):
    """What a look at an image gave. `rgb`: empty if decoding it takes more memory than it may."""

    header: ImageHeader
    rgb: bytes


def read_header(data: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageHeader:
    """Check every limit of an image, and compute the memory of decoding it. Decodes nothing.

    Raises:
        UnsupportedFormat: not one of `limits.image_formats`.
        ImageTooLarge: over a limit.
        UndecodableImage: the header is broken, or of another format than its first bytes claim.
    """
    name = sniff(data, limits.image_formats)
    with _broken_is_undecodable(name):
        _, header = _open(name, data, spec, limits)
    return header


def decode_pixels(data: bytes, spec: ImageSpec, limits: ImageLimits) -> npt.NDArray[np.uint8]:
    """The pixels of `decode_rgb` as an array.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        UnsupportedFormat, ImageTooLarge, UndecodableImage: see `decode_rgb`.
    """
    import numpy as np  # a decoder process does not need it

    rgb = decode_rgb(data, spec, limits).rgb
    return np.frombuffer(rgb, np.uint8).reshape(spec.size, spec.size, 3)


def decode_rgb(data: bytes, spec: ImageSpec, limits: ImageLimits, room: int = sys.maxsize) -> Decoded:
    """Decode the first frame and fit it to the encoder's size, if that takes at most `room` bytes of memory.

    Returns:
        The header, and rows of RGB, size x size x 3 bytes: the reference transform before scaling and
        normalisation.

    Raises:
        UnsupportedFormat, ImageTooLarge: see `read_header`.
        UndecodableImage: broken, truncated, or of another format than its first bytes claim.
    """
    name = sniff(data, limits.image_formats)
    with _broken_is_undecodable(name):
        image, header = _open(name, data, spec, limits)
        if header.decode_bytes > room:
            return Decoded(header, b"")
        size = image.size
        image.load()
        if image.size != size:
            raise ValueError  # HEIC: the container and the picture in it say different sizes
        turn = None
        if limits.exif_transpose:
            image, turn = upright(image, spec)
        return Decoded(header, fitted(image, spec, turn))


@contextmanager
def _broken_is_undecodable(name: str) -> Iterator[None]:
    try:
        yield
    except ImageTooLarge:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(
            f"the image has more pixels than Pillow opens in this process: PIL.Image.MAX_IMAGE_PIXELS is "
            f"{Image.MAX_IMAGE_PIXELS:,}. Send a smaller image.",
            limit=Image.MAX_IMAGE_PIXELS,
        ) from None
    except MemoryError:
        raise ImageTooLarge("decoding the image needs more memory than one image may use.") from None
    except Exception:  # on hostile bytes Pillow raises almost any exception, from EOFError to TypeError
        raise UndecodableImage(f"the image begins as {name} but is broken or cut short.") from None


def _open(name: str, data: bytes, spec: ImageSpec, limits: ImageLimits) -> tuple[Image.Image, ImageHeader]:
    """Open an image without loading it. A file of too many parts is refused before Pillow reads it."""
    check_whole(name, data)
    parts = Parts(limits.max_image_segments, limits.max_image_metadata_bytes, limits.max_scans)
    scans = walk(name, data, parts)[SCANS]
    image = opened(name, data)
    check_size(image.size, limits, scans)
    pixels = image.width * image.height
    kept = len(data) + (_COEFFICIENT_BYTES * len(image.getbands()) * pixels if scans else 0)
    if limits.scaled_decode and pixels > _SCALED_ABOVE:
        image.draft(None, (_SCALED_MARGIN * spec.size, _SCALED_MARGIN * spec.size))  # only of a JPEG
    header = ImageHeader(pixels, kept + decode_bytes(image, spec, exif_transpose=limits.exif_transpose))
    if header.decode_bytes > _ANY_DENSITY_BYTES:
        _check_density(header.pixels, len(data), limits)
    return image, header


def opened(name: str, data: bytes) -> Image.Image:
    """Open an image of this format, which `sniff` found. Decodes nothing.

    Raises:
        Exception: Pillow's or a decoder's; on hostile bytes that may be any.
    """
    if name == "HEIC":
        import pillow_heif  # of an extra

        # A preview would give other pixels, and depth maps are not asked for.
        pillow_heif.register_heif_opener(
            thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
        )
        name = "HEIF"
    return Image.open(io.BytesIO(data), formats=[name])


def _check_density(pixels: int, size: int, limits: ImageLimits) -> None:
    """Refuse megapixels in a few bytes: they are not a photo, and a client could send many of them."""
    actual, limit = pixels / size, limits.max_pixels_per_byte
    if actual > limit:
        raise ImageTooLarge(
            f"the image has {pixels:,} pixels in {size:,} bytes, {actual:,.0f} for each; the limit for large "
            f"images is {limit:,}. Send a smaller image.",
            limit=limit,
            actual=actual,
        )


def check_size(size: tuple[int, int], limits: ImageLimits, scans: int = 0) -> None:
    """Raises ImageTooLarge: width and height, or the pixels of so many scans, are over a limit."""
    width, height = size
    said = f"the image is {width} x {height}"
    check_limit(ImageTooLarge, said + ": {:,} pixels", width * height, limits.max_pixels)
    check_limit(ImageTooLarge, said + ": {:,} pixels on its longer side", max(size), limits.max_side)
    aspect = max(size) / max(min(size), 1)
    check_limit(ImageTooLarge, said + ": {:,.10g} times as long as it is wide", aspect, limits.max_aspect)
    # A scan of a few bytes can cost a pass over all pixels, about a second for a gigapixel.
    said += f" in {scans} scans"
    check_limit(
        ImageTooLarge, said + ": {:,} pixels in all scans", scans * width * height, limits.max_scan_pixels
    )

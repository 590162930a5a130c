"""What decoding takes is never more than was said of it by the header, as the kernel counts it."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits, read_header
from clipserve.clip.manifest import ImageSpec
from tests.clip.test_images import encoded, turned

ROOT = Path(__file__).parents[2]
SPEC = ImageSpec(size=224)
LIMITS = ImageLimits(image_formats=(*FORMATS, *OPTIONAL))
WIDTH, HEIGHT = 1400, 840
TURNED = turned(6)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@functools.cache
def picture(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    down, across = np.mgrid[: size[1], : size[0]]
    channels = np.stack([across % 256, down % 256, (across * down) % 256, (across + down) % 256], axis=-1)
    return Image.fromarray(channels.astype(np.uint8)).convert(mode)


def mirrored(mode: str = "RGB") -> Image.Image:
    return picture(mode).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def noise() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    return Image.fromarray(pixels)


def grey_16() -> Image.Image:
    return Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)


def heic(image: Image.Image, **options: int) -> bytes:
    """Made fast, but with the filter that a decoder has a buffer for."""
    return encoded(image, "HEIF", quality=80, enc_params={"preset": "ultrafast", "x265:sao": "1"}, **options)


CASES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(picture(), "JPEG"),
    "JPEG grey": lambda: encoded(picture("L"), "JPEG"),
    "JPEG CMYK": lambda: encoded(picture("CMYK"), "JPEG"),
    "JPEG turned": lambda: encoded(picture(), "JPEG", exif=TURNED),
    "JPEG progressive": lambda: encoded(picture(), "JPEG", progressive=True),
    "JPEG progressive, odd size": lambda: encoded(picture(size=(1399, 701)), "JPEG", progressive=True),
    "JPEG progressive 4:4:4": lambda: encoded(picture(), "JPEG", progressive=True, subsampling=0),
    "JPEG progressive CMYK": lambda: encoded(picture("CMYK"), "JPEG", progressive=True),
    "JPEG progressive grey": lambda: encoded(picture("L"), "JPEG", progressive=True),
    "JPEG progressive, turned": lambda: encoded(picture(), "JPEG", progressive=True, exif=TURNED),
    "PNG": lambda: encoded(picture()),
    "PNG turned": lambda: encoded(picture(), exif=TURNED),
    "PNG 1 bit": lambda: encoded(picture("1")),
    "PNG grey": lambda: encoded(picture("L")),
    "PNG grey, 16 bits": lambda: encoded(grey_16()),
    "PNG palette": lambda: encoded(picture("P"), transparency=3),
    "PNG LA": lambda: encoded(picture("LA")),
    "PNG RGBA": lambda: encoded(picture("RGBA")),
    "PNG RGBA, turned": lambda: encoded(picture("RGBA"), exif=TURNED),
    "WEBP lossy": lambda: encoded(picture(), "WEBP", method=0),
    "WEBP lossy, turned": lambda: encoded(picture(), "WEBP", method=0, exif=TURNED),
    "WEBP lossy, alpha": lambda: encoded(picture("RGBA"), "WEBP", method=0),
    "WEBP lossless": lambda: encoded(picture(), "WEBP", method=0, lossless=True, quality=0),
    "WEBP lossless, alpha": lambda: encoded(picture("RGBA"), "WEBP", method=0, lossless=True, quality=0),
    "WEBP one colour": lambda: encoded(Image.new("RGB", (WIDTH, HEIGHT)), "WEBP", lossless=True),
    "WEBP lossless, noise": lambda: encoded(noise(), "WEBP", method=0, lossless=True, quality=0),
    "WEBP animated": lambda: encoded(
        picture(),
        "WEBP",
        method=0,
        save_all=True,
        append_images=[mirrored()],
    ),
    "GIF": lambda: encoded(picture("P"), "GIF"),
    "GIF animated": lambda: encoded(
        picture("P"),
        "GIF",
        save_all=True,
        append_images=[mirrored("P")],
    ),
    "BMP": lambda: encoded(picture(), "BMP"),
    "BMP RGBA": lambda: encoded(picture("RGBA"), "BMP"),
    "TIFF": lambda: encoded(picture(), "TIFF"),
    "TIFF one LZW strip": lambda: encoded(picture("RGBA"), "TIFF", compression="tiff_lzw", strip_size=10**9),
    "TIFF JPEG": lambda: encoded(picture(), "TIFF", compression="jpeg"),
    "TIFF CMYK, turned": lambda: encoded(picture("CMYK"), "TIFF", exif=TURNED),
    "AVIF": lambda: encoded(picture(), "AVIF", speed=10),
    "AVIF RGBA 4:4:4": lambda: encoded(picture("RGBA"), "AVIF", speed=10, subsampling="4:4:4"),
    "HEIC": lambda: heic(picture()),
    "HEIC 4:4:4": lambda: heic(picture(), chroma=444),
    "HEIC RGBA": lambda: heic(picture("RGBA")),
    "HEIC of tiles": lambda: heic(picture(), tile_size=512),
    "a wide strip": lambda: encoded(picture(size=(8_000, 80))),
    "a high strip that is enlarged": lambda: encoded(picture("RGBA", size=(9, 900))),
}


pillow_heif.register_heif_opener()  # to make such files

# Each image is decoded in a process of its own, which decodes a small one first: that loads what is loaded once.
# Then the kernel forgets what the process has held before.
DECODE = """
import os, sys
from pathlib import Path
from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec

def held():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

spec, limits = ImageSpec(size=224), ImageLimits(image_formats=(*FORMATS, *OPTIONAL))
decode_pixels(Path(sys.argv[1], "small").read_bytes(), spec, limits)  # the plugin of HEIC is loaded here, once
for name in sys.argv[1:]:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    decode_pixels(Path(name, "small").read_bytes(), spec, limits)
    data = Path(name, "large").read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    before = held()
    decode_pixels(data, spec, limits)
    Path(name, "taken").write_text(str(held() - before))
    os._exit(0)
"""


@pytest.mark.slow
def test_decoding_takes_no_more_memory_than_the_header_says(tmp_path: Path) -> None:
    """One test: each worker that had a part of it would make all pictures."""
    files = {name: make() for name, make in CASES.items()}
    said = {name: read_header(file, SPEC, LIMITS).decode_bytes for name, file in files.items()}
    taken = taken_by(files, tmp_path)
    assert {
        name: f"took {taken[name] / 1e6:.1f} MB, said {said[name] / 1e6:.1f} MB"
        for name, file in files.items()
        if not least(file) < taken[name] <= said[name]
    } == {}


def least(file: bytes) -> float:
    """Bytes that decoding it must take, or nothing was measured."""
    image = Image.open(io.BytesIO(file))
    return 0.5 * image.width * image.height


def taken_by(files: dict[str, bytes], folder: Path) -> dict[str, int]:
    """Case -> the bytes by which decoding its file raised the most that a process has held."""
    folders = {name: folder / str(number) for number, name in enumerate(files)}
    for name, own in folders.items():
        own.mkdir()
        kind = Image.open(io.BytesIO(files[name])).format or ""
        (own / "small").write_bytes(encoded(Image.new("RGB", (32, 32)), kind))
        (own / "large").write_bytes(files[name])
    subprocess.run([sys.executable, "-c", DECODE, *map(str, folders.values())], cwd=ROOT, check=True)
    return {name: int((own / "taken").read_text()) for name, own in folders.items()}


def test_a_jpeg_that_is_decoded_at_a_reduced_scale_takes_less_but_for_its_coefficients() -> None:
    limits = ImageLimits(scaled_decode=True)
    size = (4_000, 2_400)  # half of it on each side is enough
    for options, share in (({}, 0.5), ({"progressive": True, "subsampling": 0}, 0.8)):
        data = encoded(picture(size=(1_000, 600)).resize(size), "JPEG", **options)
        whole, scaled = (read_header(data, SPEC, each).decode_bytes for each in (ImageLimits(), limits))
        assert scaled < whole * share
        assert read_header(data, SPEC, limits).pixels == size[0] * size[1]


def test_a_photo_takes_a_copy_more_only_if_it_is_turned_before_it_is_resized() -> None:
    def taken(limits: ImageLimits, **options: Image.Exif) -> int:
        data = encoded(picture("L", (300, 200)), "JPEG", **options)  # too small to be turned last
        return read_header(data, SPEC, limits).decode_bytes - len(data)

    upright, turned = taken(ImageLimits()), taken(ImageLimits(), exif=TURNED)
    assert turned == upright + 4 * 300 * 200
    assert taken(ImageLimits(exif_transpose=False), exif=TURNED) == upright

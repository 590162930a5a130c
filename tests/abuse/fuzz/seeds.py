"""Small image files of all kinds, from which the mutations begin; `python -m tests.abuse.fuzz.seeds` writes them.

They are kept, because another version of Pillow would write others and a case is known by its number.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

CORPUS = Path(__file__).parents[1] / "corpus"


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pictures() -> dict[str, Image.Image]:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 17, 4), dtype=np.uint8)
    pixels[2:9, 3:14] = (200, 80, 10, 255)  # something to compress
    rgba = Image.fromarray(pixels)
    rgb = rgba.convert("RGB")
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return {"rgb": rgb, "rgba": rgba, "grey": rgb.convert("L"), "grey16": grey16, "palette": rgb.quantize(16)}


def _interlaced() -> bytes:
    """An Adam7 PNG of 8 x 8 grey pixels; Pillow reads them and writes none."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # width and height of each
    rows = b"".join((b"\0" + bytes(range(width))) * height for width, height in passes)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _jpegs(of: dict[str, Image.Image], exif: bytes, profile: bytes) -> Iterator[tuple[str, bytes]]:
    big = of["rgb"].resize((40, 33))
    yield "baseline.jpg", _saved(big, "JPEG")
    yield "progressive.jpg", _saved(big, "JPEG", progressive=True)
    yield "restarts.jpg", _saved(big, "JPEG", restart_marker_blocks=1, subsampling=2)
    yield "grey-exif.jpg", _saved(of["grey"], "JPEG", exif=exif, comment=b"c")
    yield "cmyk-profile.jpg", _saved(of["rgb"].convert("CMYK"), "JPEG", icc_profile=profile)


def _pngs(of: dict[str, Image.Image], exif: bytes, profile: bytes) -> Iterator[tuple[str, bytes]]:
    yield "rgb.png", _saved(of["rgb"], "PNG", exif=exif, icc_profile=profile)
    yield "rgba.png", _saved(of["rgba"], "PNG")
    yield "palette.png", _saved(of["palette"], "PNG", transparency=3)
    yield "one-bit.png", _saved(of["grey"].convert("1"), "PNG")
    yield "grey16.png", _saved(of["grey16"], "PNG")
    yield "interlaced.png", _interlaced()
    yield "animated.png", _saved(of["rgb"], "PNG", save_all=True, append_images=[of["rgb"].rotate(90)])


def _webps(of: dict[str, Image.Image], exif: bytes, profile: bytes) -> Iterator[tuple[str, bytes]]:
    yield "lossy.webp", _saved(of["rgb"], "WEBP")
    yield "lossless.webp", _saved(of["rgb"], "WEBP", lossless=True)
    yield "alpha.webp", _saved(of["rgba"], "WEBP", exif=exif, icc_profile=profile)
    yield "animated.webp", _saved(of["rgb"], "WEBP", save_all=True, append_images=[of["rgb"].rotate(90)])


def _others(of: dict[str, Image.Image]) -> Iterator[tuple[str, bytes]]:
    yield "palette.gif", _saved(of["palette"], "GIF")
    yield (
        "animated.gif",
        _saved(of["palette"], "GIF", save_all=True, append_images=[of["palette"].rotate(90)]),
    )
    yield "rgb.bmp", _saved(of["rgb"], "BMP")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"{compression.removeprefix('tiff_')}.tiff", _saved(of["rgb"], "TIFF", compression=compression)
    yield "group4.tiff", _saved(of["grey"].convert("1"), "TIFF", compression="group4")
    yield "rgb.avif", _saved(of["rgb"], "AVIF", speed=10)


def images() -> dict[str, bytes]:
    """Files of the formats that are decoded without a setting."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a"
    tags, profile = exif.tobytes(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    of = _pictures()
    return dict((*_jpegs(of, tags, profile), *_pngs(of, tags, profile), *_webps(of, tags, profile)))


def formats() -> dict[str, bytes]:
    """Files of the formats that a setting can switch on."""
    return dict(_others(_pictures()))


def main() -> None:
    for folder, files in (("images", images()), ("formats", formats())):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (CORPUS / folder / name).write_bytes(data)


if __name__ == "__main__":
    main()

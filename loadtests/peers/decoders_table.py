"""Decoders of JPEG beside Pillow as the service uses it; run by `loadtests.decoders`, in the decoders' environment.

`decoders_table.py FOLDER ROUNDS` prints JSON: for each way from JPEG to RGB its CPU milliseconds an image, and how
far its pixels are from those of the service. A way that cannot be had here is listed with the reason.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from clipserve.clip.fitting import fitted, resized
from clipserve.clip.images import ImageLimits, decode_rgb

SIZE = 224
LEAST = 3 * SIZE  # a scaled decoding gives at least this, as in the service
SPEC: Any = SimpleNamespace(size=SIZE, interpolation="bicubic", resize="shortest")
PACKAGES = ("Pillow", "simplejpeg", "pyturbojpeg", "pyvips", "opencv-python-headless", "cykooz-resizer")

Pixels = Any  # uint8 [H, W, 3], RGB
Way = Callable[[bytes], Pixels]


def service(*, scaled: bool) -> Way:
    limits = ImageLimits(scaled_decode=scaled)
    return lambda data: np.frombuffer(decode_rgb(data, SPEC, limits), np.uint8).reshape(SIZE, SIZE, 3)


def pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def turned_first(data: bytes) -> Pixels:
    """The reference: a copy of the whole picture, turned upright, and then resized."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(fitted(image, SPEC))


def then_pillow(decode: Way) -> Way:
    """Resized and cropped as the service does it."""
    return lambda data: np.asarray(fitted(Image.fromarray(decode(data)), SPEC))


def _simplejpeg() -> dict[str, Way]:
    import simplejpeg

    def exact(data: bytes) -> Pixels:
        return simplejpeg.decode_jpeg(data)

    def scaled(data: bytes) -> Pixels:
        return simplejpeg.decode_jpeg(data, min_height=LEAST, min_width=LEAST, min_factor=1)

    return {
        "simplejpeg: decode": exact,
        "simplejpeg + Pillow": then_pillow(exact),
        "simplejpeg, scaled + Pillow": then_pillow(scaled),
    }


def _turbojpeg() -> dict[str, Way]:
    import turbojpeg

    decode = turbojpeg.TurboJPEG().decode

    def exact(data: bytes) -> Pixels:
        return decode(data, pixel_format=turbojpeg.TJPF_RGB)

    return {"PyTurboJPEG: decode": exact, "PyTurboJPEG + Pillow": then_pillow(exact)}


def _opencv() -> dict[str, Way]:
    import cv2

    cv2.setNumThreads(1)

    def exact(data: bytes) -> Pixels:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    def area(data: bytes) -> Pixels:
        pixels = exact(data)
        height, width = pixels.shape[:2]
        return _cropped(cv2.resize(pixels, resized((width, height), SPEC), interpolation=cv2.INTER_AREA))

    return {
        "OpenCV: decode": exact,
        "OpenCV + Pillow": then_pillow(exact),
        "OpenCV, resized by its INTER_AREA": area,
    }


def _vips() -> dict[str, Way]:
    import pyvips

    def exact(data: bytes) -> Pixels:
        return pyvips.Image.new_from_buffer(data, "", access="sequential").numpy()

    def own(data: bytes) -> Pixels:
        sizes = {"height": SIZE, "size": "both", "crop": "centre"}
        return pyvips.Image.thumbnail_buffer(data, SIZE, **sizes).numpy()

    return {
        "pyvips: decode": exact,
        "pyvips + Pillow": then_pillow(exact),
        "pyvips, its thumbnail (scaled)": own,
    }


def _cykooz() -> dict[str, Way]:
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    resizer, how = Resizer(), ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom))

    def way(data: bytes, *, scaled: bool) -> Pixels:
        image = Image.open(io.BytesIO(data))
        if scaled:
            image.draft(None, (LEAST, LEAST))
        width, height = resized(image.size, SPEC)
        made = ImageData(width, height, PixelType.U8x3)
        resizer.resize(ImageData(*image.size, PixelType.U8x3, image.tobytes()), made, how)
        return _cropped(np.frombuffer(made.get_buffer(), np.uint8).reshape(height, width, 3))

    return {
        "Pillow, resized by cykooz-resizer": lambda data: way(data, scaled=False),
        "Pillow, scaled, resized by cykooz-resizer": lambda data: way(data, scaled=True),
    }


def _cropped(pixels: Pixels) -> Pixels:
    top, left = (round((side - SIZE) / 2) for side in pixels.shape[:2])
    return pixels[top : top + SIZE, left : left + SIZE]


def all_ways(missing: dict[str, str]) -> dict[str, Way]:
    ways = {
        "Pillow: decode": pillow,
        "Pillow, turned first": turned_first,
        "the service": service(scaled=False),
        "the service, scaled decode": service(scaled=True),
    }
    for make in (_simplejpeg, _turbojpeg, _opencv, _vips, _cykooz):
        try:
            ways |= make()
        except Exception as error:  # a library that is not there, in any of its own words
            missing[make.__name__.removeprefix("_")] = str(error).splitlines()[0]
    return ways


def measured(photos: list[bytes], ways: dict[str, Way], rounds: int) -> Iterator[dict[str, Any]]:
    """All ways take turns at each photo."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    largest = dict.fromkeys(ways, 0)
    means: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for data in photos:
            whole, small = pillow(data).astype(int), ways["the service"](data).astype(int)
            for name, way in ways.items() if number % 2 else reversed(ways.items()):
                began = time.process_time()
                pixels = way(data)
                seconds[name].append(time.process_time() - began)
                difference = np.abs((small if len(pixels) == SIZE else whole) - pixels)
                largest[name] = max(largest[name], int(difference.max()))
                means[name].append(float(difference.mean()))
    for name in ways:
        yield {
            "way": name,
            "ms": 1e3 * statistics.median(seconds[name]),
            "largest": largest[name],
            "mean": statistics.mean(means[name]),
        }


def _of(ways: dict[str, Way], photos: str) -> dict[str, Way]:
    """Those for a set of photos: of photos that lie, those that turn them."""
    return (
        {name: ways[name] for name in ("the service", "Pillow, turned first")} if "lying" in photos else ways
    )


def main(folder: Path, rounds: int) -> None:
    missing: dict[str, str] = {}
    ways = all_ways(missing)
    sets = {each.name: sorted(each.iterdir()) for each in sorted(folder.iterdir())}
    rows = [
        {"photos": name, **row}
        for name, files in sets.items()
        for row in measured([file.read_bytes() for file in files], _of(ways, name), rounds)
    ]
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    versions["libjpeg-turbo in Pillow"] = str(features.version_feature("libjpeg_turbo"))
    print(json.dumps({"versions": versions, "missing": missing, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

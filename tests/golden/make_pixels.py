"""Makes pixels/: one image file for each mode and shape that preprocessing treats differently, and pixels.json,
the SHA-256 of what the reference transform (torchvision's, as open_clip composes it) makes of each.

    python -m tests.golden.make_pixels     needs the export environment (torchvision)

Run again it gives other files where the encoders of Pillow have changed; `test_remade.py` recomputes the digests
from the stored files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

FILES = Path(__file__).parent / "pixels"
DIGESTS = FILES / "pixels.json"

TRANSFORMS = {
    "bicubic-224-shortest": Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224)]),
    "bilinear-60-shortest": Compose([Resize(60, InterpolationMode.BILINEAR), CenterCrop(60)]),
    "bicubic-96-squash": Compose([Resize((96, 96), InterpolationMode.BICUBIC)]),
}


def scene(width: int, height: int) -> Image.Image:
    """Colour ramps, a hard edge and a little noise: compresses well and shows every resampling mistake."""
    row, column = np.mgrid[0:height, 0:width]
    picture = np.stack([column * 255 // width, row * 255 // height, (row + column) % 256], axis=-1)
    picture[height // 4 : height // 2, width // 3 : width // 2] = (255, 0, 128)
    noise = np.random.default_rng(width * height).integers(-8, 9, picture.shape)
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))


def samples() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """(file name, image, how to save it)."""
    base = scene(140, 101)
    alpha = Image.fromarray(np.linspace(0, 255, 140 * 101).reshape(101, 140).astype(np.uint8))
    with_alpha, grey_alpha = base.convert("RGBA"), base.convert("LA")
    with_alpha.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    deep = np.arange(140 * 101).reshape(101, 140) % 65536
    palette = base.quantize(64)
    yield "l.png", base.convert("L"), {}
    yield "la.png", grey_alpha, {}
    yield "p.png", palette, {}
    yield "p-transparent.png", palette, {"transparency": 3}
    yield "rgb.png", base, {}
    yield "rgba.png", with_alpha, {}
    yield "rgba-clear.png", Image.new("RGBA", (70, 50), (200, 10, 10, 0)), {}
    yield "1.png", base.convert("1"), {}
    yield "i16.png", Image.fromarray(deep.astype(np.uint16)), {}
    yield "rgb.jpg", base, {"quality": 90}
    yield "l.jpg", base.convert("L"), {"quality": 90}
    yield "cmyk.jpg", base.convert("CMYK"), {"quality": 90}
    yield "progressive.jpg", base, {"quality": 80, "progressive": True}
    yield "rgb.webp", base, {"quality": 80}
    yield "rgba.webp", with_alpha, {"lossless": True}
    yield "portrait.jpg", scene(101, 143), {"quality": 90}
    yield "landscape-odd.png", scene(241, 90), {}
    yield "tiny.png", scene(1, 1), {}
    yield "thin.png", scene(2, 150), {}
    yield "large.jpg", scene(1200, 900), {"quality": 60}
    yield "exact.png", scene(224, 224).quantize(32), {}


def digests() -> dict[str, dict[str, str]]:
    """File name -> transform -> SHA-256 of uint8 [S, S, 3]."""
    result: dict[str, dict[str, str]] = {}
    for path in sorted(FILES.glob("*.*")):
        if path == DIGESTS:
            continue
        result[path.name] = {}
        for name, transform in TRANSFORMS.items():
            pixels = np.asarray(transform(Image.open(path)).convert("RGB"))
            result[path.name][name] = hashlib.sha256(pixels.tobytes()).hexdigest()
    return result


def main() -> None:
    FILES.mkdir(exist_ok=True)
    for name, image, options in samples():
        image.save(FILES / name, **options)
    DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n")


if __name__ == "__main__":
    main()

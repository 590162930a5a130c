"""Reads the photos and prompts for calibrating a variant and for the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec, TextSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve.errors import InvalidInput, UnsupportedFormat
from clipserve_models.errors import ModelsError
from clipserve_models.verify import Feeds

Pixels = npt.NDArray[np.uint8]  # N photos at the encoder's size, [N, S, S, 3]

# With fewer photos the ranges of activations, or the first percentile, are random.
CALIBRATION_PHOTOS = 32
GATE_PHOTOS = 32
# More photos do not change the figures, and take hours instead of minutes.
MAX_CALIBRATION_PHOTOS = 256
MAX_PHOTOS = 1_000
CALIBRATION_PROMPTS = 128
BATCH = 8

# Labels of any photos: only whether both precisions choose the same label matters.
EVERYDAY = (
    "cat", "dog", "horse", "cow", "bird", "fish", "insect", "snake", "bear", "elephant", "person",
    "crowd", "child", "face", "hand", "car", "truck", "bus", "train", "bicycle", "motorcycle",
    "airplane", "boat", "rocket", "street", "bridge", "house", "church", "tower", "room", "kitchen",
    "bed", "chair", "table", "lamp", "book", "screen", "telephone", "clock", "bottle", "cup of coffee",
    "plate of food", "bread", "fruit", "vegetable", "cake", "shirt", "dress", "shoe", "hat", "bag",
    "ball", "guitar", "piano", "tool", "coin", "flower", "tree", "forest", "mountain", "beach", "sea",
    "sky", "snow", "desert", "night sky", "painting", "page of text",
)  # fmt: skip


def read_photos(folder: Path, spec: ImageSpec) -> Pixels:
    """Every file under `folder` that is a photo, whatever its name, at most MAX_PHOTOS of them, evenly spaced.

    Raises:
        ModelsError: a photo is broken.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    pixels: list[Pixels] = []
    for row in spread(len(paths), MAX_PHOTOS):
        try:
            pixels.append(decode_pixels(paths[row].read_bytes(), spec, ImageLimits()))
        except UnsupportedFormat:
            continue  # a file that is not a photo, such as a licence
        except InvalidInput as error:
            raise ModelsError(f"{paths[row]}: {error}") from None
    return np.stack(pixels) if pixels else np.empty((0, spec.size, spec.size, 3), np.uint8)


def split(photos: Pixels, *, calibrate: bool) -> tuple[Pixels, Pixels]:
    """Split the photos into those for calibration and those for the gate.

    No photo is in both, because ranges always fit the photos that they were measured on. A third, evenly spaced, is
    for calibration, the rest for the gate; without `calibrate`, all are for the gate.

    Raises:
        ModelsError: there are too few; the message says how many are needed.
    """
    needed = GATE_PHOTOS + CALIBRATION_PHOTOS * calibrate
    if len(photos) < needed:
        both = f"{CALIBRATION_PHOTOS} to calibrate and {GATE_PHOTOS} others to judge"
        raise ModelsError(
            f"found {len(photos)} photos; needed are at least {needed} ({both if calibrate else 'to judge'} the "
            "variant). Take photos like those that will be served."
        )
    count = min(max(CALIBRATION_PHOTOS, len(photos) // 3), MAX_CALIBRATION_PHOTOS) * calibrate
    rows = spread(len(photos), count)
    return photos[rows], photos[np.setdiff1d(np.arange(len(photos)), rows)]


def spread(total: int, count: int) -> npt.NDArray[np.intp]:
    """`count` distinct rows of `total`, evenly spaced; all of them if there are no more."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(np.intp)


def image_feeds(photos: Pixels, batch: int = BATCH) -> Iterator[Feeds]:
    """Batches of photos."""
    for start in range(0, len(photos), batch):
        yield {"pixels": photos[start : start + batch]}


def text_feeds(
    texts: Sequence[str], tokenizer: Tokenizer, spec: TextSpec, batch: int = BATCH
) -> Iterator[Feeds]:
    """Batches as in the service: padded to a length of `spec.lengths`."""
    rows = tokenizer.encode(texts, truncate=True)
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        longest = max(len(row.ids) for row in some)
        token_ids, lengths = tokenizer.pad(some, spec.padded_length(longest))
        yield {"token_ids": token_ids, "lengths": lengths}

"""Reads the photos and prompts for calibrating a variant and for the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec, TextSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve.errors import InvalidInput, UnsupportedFormat
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import read_keys
from clipserve_models.evaluation.data import labelled_photos
from clipserve_models.verify import Feeds

# With fewer photos the ranges of activations, or the first percentile, are random.
CALIBRATION_PHOTOS = 32
GATE_PHOTOS = 32
# More photos do not change the figures, and take hours instead of minutes.
MAX_CALIBRATION_PHOTOS = 256
MAX_PHOTOS = 1_000
CALIBRATION_PROMPTS = 128
BATCH = 8

# Labels for photos without labels: only whether both precisions choose the same label matters.
EVERYDAY = (
    "cat", "dog", "horse", "cow", "bird", "fish", "insect", "snake", "bear", "elephant", "person",
    "crowd", "child", "face", "hand", "car", "truck", "bus", "train", "bicycle", "motorcycle",
    "airplane", "boat", "rocket", "street", "bridge", "house", "church", "tower", "room", "kitchen",
    "bed", "chair", "table", "lamp", "book", "screen", "telephone", "clock", "bottle", "cup of coffee",
    "plate of food", "bread", "fruit", "vegetable", "cake", "shirt", "dress", "shoe", "hat", "bag",
    "ball", "guitar", "piano", "tool", "coin", "flower", "tree", "forest", "mountain", "beach", "sea",
    "sky", "snow", "desert", "night sky", "painting", "page of text",
)  # fmt: skip


@dataclass(frozen=True)
class Photos:
    """N photos at the encoder's size. `truths`: each photo's label, None where it has none; `labels`: all."""

    pixels: npt.NDArray[np.uint8]  # [N, S, S, 3]
    truths: tuple[str | None, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truths)

    def take(self, rows: npt.NDArray[np.intp]) -> Photos:
        return Photos(self.pixels[rows], tuple(self.truths[row] for row in rows), self.labels)

    def feeds(self, batch: int = BATCH) -> Iterator[Feeds]:
        for start in range(0, len(self), batch):
            yield {"pixels": self.pixels[start : start + batch]}


def read_photos(folder: Path, classes: Path | None, spec: ImageSpec) -> Photos:
    """Read the photos under `folder`, at most MAX_PHOTOS of them, evenly spaced.

    With `classes` (lines of index, key and label) only those that have a label, with all labels of the list;
    without it every file that is a photo, whatever its name, with the labels EVERYDAY.

    Raises:
        ModelsError: a photo is broken, or `classes` has another form.
    """
    labelled: list[tuple[Path, str | None]]
    labels: tuple[str, ...] = EVERYDAY
    if classes is None:
        labelled = [(path, None) for path in sorted(folder.rglob("*")) if path.is_file()]
    else:
        by_key = read_keys(classes)
        labels = tuple(dict.fromkeys(by_key.values()))
        labelled = [*labelled_photos(folder, by_key)]
        if not labelled:
            raise ModelsError(f"{folder} holds no photo whose folder or name begins with a key of {classes}.")
    pixels: list[npt.NDArray[np.uint8]] = []
    truths: list[str | None] = []
    for row in spread(len(labelled), MAX_PHOTOS):
        path, truth = labelled[row]
        try:
            pixels.append(decode_pixels(path.read_bytes(), spec, ImageLimits()))
        except UnsupportedFormat:
            continue  # a file that is not a photo, such as a list of classes or a licence
        except InvalidInput as error:
            raise ModelsError(f"{path}: {error}") from None
        truths.append(truth)
    stacked = np.stack(pixels) if pixels else np.empty((0, spec.size, spec.size, 3), np.uint8)
    return Photos(stacked, tuple(truths), labels)


def split(photos: Photos, *, calibrate: bool) -> tuple[Photos, Photos]:
    """Split the photos into those for calibration and those for the gate.

    No photo is in both, because ranges always fit the photos that they were measured on. A third, evenly spaced, is
    for calibration, the rest for the gate; without `calibrate`, all are for the gate.

    Raises:
        ModelsError: there are too few; the message says how many are needed.
    """
    needed = GATE_PHOTOS + CALIBRATION_PHOTOS * calibrate
    if len(photos) < needed:
        why = (
            f"{CALIBRATION_PHOTOS} to calibrate and {GATE_PHOTOS} others to judge"
            if calibrate
            else "to judge"
        )
        raise ModelsError(
            f"found {len(photos)} photos; needed are at least {needed} ({why} the variant). "
            "Take photos like those that will be served."
        )
    count = min(max(CALIBRATION_PHOTOS, len(photos) // 3), MAX_CALIBRATION_PHOTOS) * calibrate
    rows = spread(len(photos), count)
    return photos.take(rows), photos.take(np.setdiff1d(np.arange(len(photos)), rows))


def spread(total: int, count: int) -> npt.NDArray[np.intp]:
    """`count` distinct rows of `total`, evenly spaced; all of them if there are no more."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(np.intp)


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

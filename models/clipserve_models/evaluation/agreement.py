"""Compares a service with the original model on the same items: how often they agree, and what differs."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from clipserve.clip.reference import MIN_COSINE, cosines
from clipserve_models.evaluation.figures import Figures, rounded
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.metrics import Floats, Numbers

NOTHING_ODD = "none found"
_ORIENTATION = 0x0112  # a tag of EXIF
_MODES = {
    **dict.fromkeys(("RGBA", "RGBa", "LA", "La", "PA"), "alpha"),
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L", "F"), "more than 8 bits a channel"),
    "1": "1 bit a pixel",
    "P": "palette",
    "CMYK": "CMYK",
}
_SMALL_SIDE, _LONG = 64, 3
_MANY_PIXELS = 2_000_000  # above it a service with scaled decoding decodes at a smaller scale
_LISTED = 20  # items
_CHUNK = 1_000  # rows at a time, so that memory stays small


class Original(Protocol):
    """The model that an artifact was exported from, in its own framework. Vectors are float32, of unit length.

    Attributes:
        about: which weights of which model.
        embed_dim: D.
        templates: those of the service, for requests without templates.
    """

    about: str
    embed_dim: int
    templates: list[str]

    async def images(self, files: Iterable[tuple[str, bytes]]) -> Floats:
        """The vectors of files, each with its id: [N, D]. Raises ModelsError: a file cannot be read."""

    async def texts(self, texts: Sequence[str]) -> Floats:
        """The vectors of texts, [M, D]."""

    async def labels(self, labels: Sequence[str], templates: Sequence[str]) -> Floats:
        """The vectors of labels, [K, D]: each is the mean over the templates."""


@dataclass(frozen=True)
class Asked:
    """What the service and the original model were asked.

    Attributes:
        items: N.
        right: for each item, the positions of its right labels or of its captions.
        labels: K labels or captions, the first of which is chosen for each item.
        texts: M texts, whose vectors are compared.
        fingerprint: of the service.
    """

    items: Sequence[Item]
    right: Sequence[Collection[int]]
    labels: Sequence[str]
    texts: Sequence[str]
    fingerprint: str


@dataclass(frozen=True)
class Answers:
    """`images`: [N, D]; `texts`: [M, D]; `first`: [N], the position of each image's first label."""

    images: Floats
    texts: Floats
    first: Numbers


def first_of(images: Floats, labels: Floats) -> Numbers:
    """The position of the label nearest to each image, [N]; of equals the first. float32 [N, D] and [K, D]."""
    parts = (
        (images[start : start + _CHUNK] @ labels.T).argmax(axis=1) for start in range(0, len(images), _CHUNK)
    )
    return np.concatenate([*parts])


def mcnemar(one_alone: int, other_alone: int) -> float:
    """The two-sided p-value of McNemar's exact test: that two classifiers are wrong equally often.

    It counts the items that only one of them has right. Under the hypothesis each belongs to either with
    probability 1/2: the test of McNemar (1947, Psychometrika 12, p. 153), binomial instead of his chi-square.
    """
    pairs, fewer = one_alone + other_alone, min(one_alone, other_alone)
    ways = total = 1  # to choose 0 of the pairs
    for chosen in range(fewer):
        ways = ways * (pairs - chosen) // (chosen + 1)
        total += ways
    return min(1.0, 2 * total / (1 << pairs))


def oddities(file: bytes) -> str:
    """What an image file has that a service and open_clip may treat differently, or NOTHING_ODD."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            return ", ".join(_oddities(image)) or NOTHING_ODD
    except Exception:  # Pillow raises nearly any error; the decoder reports it
        return "not readable here"


def _oddities(image: Image.Image) -> Iterator[str]:
    turned, frames = image.getexif().get(_ORIENTATION, 1), getattr(image, "n_frames", 1)
    if turned != 1:
        yield f"EXIF orientation {turned}"
    if image.mode in _MODES:
        yield _MODES[image.mode]
    if "transparency" in image.info:
        yield "a transparent colour"
    if frames > 1:
        yield "several frames"
    short, long = sorted(image.size)
    if short < _SMALL_SIDE or long > _LONG * short or short * long > _MANY_PIXELS:
        yield f"{image.width} x {image.height} pixels"


def beside(asked: Asked, odd: Sequence[str], served: Answers, own: Answers, labels: Floats) -> Figures:
    """The figures of the comparison; shares are 0..1.

    Args:
        odd: of each item, see `oddities`.
        own: the answers of the original model, and `labels`, its vectors of the labels, [K, D].
    """
    images, texts = cosines(served.images, own.images), cosines(served.texts, own.texts)
    hits, own_hits = (
        np.array([first in right for first, right in zip(answers.first, asked.right, strict=True)])
        for answers in (served, own)
    )
    alone, own_alone = int((hits & ~own_hits).sum()), int((own_hits & ~hits).sum())
    precision = asked.fingerprint.rpartition("@")[2].partition("-")[0]
    bound = MIN_COSINE.get(precision, MIN_COSINE["fp32"])
    same = served.first == own.first
    differing = np.flatnonzero(~same | ~(images >= bound))
    worst = int(texts.argmin())
    return {
        "items": len(asked.items),
        "top1": {"service": rounded(hits.mean()), "open_clip": rounded(own_hits.mean())},
        "agreement": rounded(same.mean()),
        "image_cosine": {"lowest": rounded(images.min()), "mean": rounded(images.mean(dtype=np.float64))},
        "text_cosine": {"lowest": rounded(texts[worst]), "text": asked.texts[worst]},
        "right_alone": {"service": alone, "open_clip": own_alone},
        "mcnemar_p": float(f"{mcnemar(alone, own_alone):.3g}"),
        "least_cosine": bound,
        "differing": len(differing),
        "in_their_files": dict(Counter(odd[int(row)] for row in differing).most_common()),
        "items_that_differ": [
            {
                "item": asked.items[row].id,
                "cosine": rounded(images[row]),
                "service": asked.labels[served.first[row]],
                "open_clip": asked.labels[own.first[row]],
                "lead": rounded(own.images[row] @ (labels[own.first[row]] - labels[served.first[row]])),
                "in_its_file": odd[row],
            }
            for row in differing[np.argsort(images[differing], kind="stable")[:_LISTED]]
        ],
    }

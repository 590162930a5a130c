"""The gate: measures in onnxruntime, on photos used for nothing else, whether a variant is close enough to fp32.

BOUNDS is the table of the bounds of each precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest, Variant
from clipserve.clip.prompts import expand, fill
from clipserve.clip.reference import cosines
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.clip.zeroshot import ensemble
from clipserve_models.errors import ModelsError
from clipserve_models.variants.samples import EVERYDAY, Pixels, image_feeds, text_feeds
from clipserve_models.verify import Graph

VariantPrecision = Literal["fp16", "int8"]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bounds:
    """The lowest figures that are accepted. Both cosines apply to each encoder. `digits`: that are shown."""

    mean_cosine: float
    p1_cosine: float
    top1_agreement: float = 0.97
    digits: int = 4


BOUNDS: dict[VariantPrecision, Bounds] = {
    "fp16": Bounds(mean_cosine=0.9999, p1_cosine=0.9995, digits=6),
    "int8": Bounds(mean_cosine=0.99, p1_cosine=0.97),
}


@dataclass(frozen=True)
class Vectors:
    """The vectors of one artifact for N photos and for the labels' prompts; rows of unit length.

    Attributes:
        images: [N, D].
        texts: [K * T, D]; the T prompts of a label follow each other.
        classifier: [K, D]; one row for each label.
    """

    images: FloatArray
    texts: FloatArray
    classifier: FloatArray

    @property
    def first_labels(self) -> npt.NDArray[np.intp]:
        """[N]."""
        return np.asarray((self.images @ self.classifier.T).argmax(axis=1), np.intp)


@dataclass(frozen=True)
class Verdict:
    """One figure and the least that is needed. A figure that was not measured is None and counts as good."""

    what: str
    figure: float | None
    bound: float
    digits: int

    @property
    def shown(self) -> str:
        return "not measured" if self.figure is None else f"{self.figure:.{self.digits}f}"

    @property
    def good(self) -> bool:
        return self.figure is None or self.figure >= self.bound

    def __str__(self) -> str:
        return f"{self.what} {self.shown} (needed: at least {self.bound})"


def encode(folder: Path, manifest: ModelManifest, photos: Pixels) -> Vectors:
    """Run both encoders of the artifact in `folder`. Raises ModelsError: a graph does not run."""
    templates = expand(manifest.prompt_templates)
    prompts = [fill(template, label) for label in EVERYDAY for template in templates]
    image, text = Graph(folder / IMAGE_GRAPH), Graph(folder / TEXT_GRAPH)
    feeds = text_feeds(prompts, load_tokenizer(folder, manifest.text), manifest.text)
    texts = np.concatenate([text.run(feed) for feed in feeds])
    return Vectors(
        images=np.concatenate([image.run(feed) for feed in image_feeds(photos)]),
        texts=texts,
        classifier=np.stack([ensemble(own) for own in texts.reshape(len(EVERYDAY), len(templates), -1)]),
    )


def measure(fp32: Vectors, variant: Vectors, *, trained: bool) -> dict[str, float | int | None]:
    """The figures that the manifest records. That about labels is measured only if the model was `trained`.

    With random weights the vectors of all photos are nearly equal, and the smallest difference changes the first
    label.
    """
    images, texts = cosines(fp32.images, variant.images), cosines(fp32.texts, variant.texts)
    return {
        "photos": len(images),
        "labels": len(fp32.classifier),
        "mean_cosine": float(images.mean()),
        "p1_cosine": float(np.percentile(images, 1)),
        "text_mean_cosine": float(texts.mean()),
        "text_p1_cosine": float(np.percentile(texts, 1)),
        "top1_agreement": float((fp32.first_labels == variant.first_labels).mean()) if trained else None,
    }


def verdicts(precision: VariantPrecision, measured: Variant) -> list[Verdict]:
    """Each figure with its bound."""
    needed = BOUNDS[precision]
    figures: list[tuple[str, float | None, float]] = [
        ("image cosine, mean", measured.mean_cosine, needed.mean_cosine),
        ("image cosine, 1st percentile", measured.p1_cosine, needed.p1_cosine),
        ("text cosine, mean", measured.text_mean_cosine, needed.mean_cosine),
        ("text cosine, 1st percentile", measured.text_p1_cosine, needed.p1_cosine),
        ("top-1 agreement", measured.top1_agreement, needed.top1_agreement),
    ]
    return [Verdict(*figure, needed.digits) for figure in figures]


def judge(precision: VariantPrecision, measured: Variant) -> None:
    """Accept a variant if all its figures are within their bounds.

    Raises:
        ModelsError: one is not; the message has each failed figure, its bound, and what to try.
    """
    if failed := [verdict for verdict in verdicts(precision, measured) if not verdict.good]:
        raise ModelsError(
            f"the {precision} variant is not faithful to fp32 on {measured.photos} photos and {measured.labels} "
            f"labels, and was deleted: {'; '.join(map(str, failed))}. "
            f"Try {', or '.join(_advice(measured, failed))}. Some models cannot be had in {precision}."
        )


def _advice(measured: Variant, failed: Sequence[Verdict]) -> Iterator[str]:
    if measured.calibration_photos:
        yield f"more photos to calibrate on ({measured.calibration_photos} did)"
    failing = [tower for tower in measured.towers if any(each.what.startswith(tower) for each in failed)]
    if len(measured.towers) == 2:
        for tower in failing or measured.towers:
            yield f"--no-{tower}, which keeps the {tower} tower fp32"
    elif not measured.calibration_photos:
        yield "the fp32 artifact"

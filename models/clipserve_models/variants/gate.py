"""The gate: measures in onnxruntime, on photos used for nothing else, whether a variant is close enough to fp32.

BOUNDS is the table of the bounds of each precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest, Variant
from clipserve.clip.prompts import expand, fill
from clipserve.clip.reference import cosines
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.clip.zeroshot import ensemble
from clipserve_models.errors import ModelsError
from clipserve_models.variants.job import Largest, Method, Tower, VariantPrecision
from clipserve_models.variants.samples import BATCH, Photos, text_feeds
from clipserve_models.verify import Feeds, Graph

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bounds:
    """The bounds of the record's figures of the same names. Both cosines apply to each encoder.

    `largest_value`: of the fp32 graphs, if the precision has a smaller range than fp32. `digits`: shown in the
    table.
    """

    mean_cosine: float
    p1_cosine: float
    top1_agreement: float = 0.97
    top1_drop: float = 0.01
    largest_value: float | None = None
    digits: int = 4


BOUNDS: dict[VariantPrecision, Bounds] = {
    # The largest fp16 value is 65,504. On other photos and texts a value may be a few times larger than on these,
    # and partial sums of products may exceed the result if an engine adds in half precision.
    "fp16": Bounds(mean_cosine=0.9999, p1_cosine=0.9995, largest_value=8_000, digits=6),
    "int8": Bounds(mean_cosine=0.99, p1_cosine=0.97),
}


@dataclass(frozen=True)
class Vectors:
    """The vectors of one artifact for the photos and for the labels' prompts; rows of unit length.

    Attributes:
        images: [N, D].
        texts: [K * T, D]; the T prompts of a label follow each other.
        classifier: [K, D]; one row for each label.
        together: [2 B, D]; the first B photos and the first B prompts, computed in a batch.
        alone: [2 B, D]; the same, each computed in a call of its own.
    """

    images: FloatArray
    texts: FloatArray
    classifier: FloatArray
    together: FloatArray
    alone: FloatArray


@dataclass(frozen=True)
class Verdict:
    """One figure and its bound. A figure that was not measured is None and counts as good."""

    what: str
    figure: float | None
    bound: float
    at_most: bool = False
    digits: int = 4

    @property
    def shown(self) -> str:
        return "not measured" if self.figure is None else f"{self.figure:.{self.digits}f}"

    @property
    def good(self) -> bool:
        if self.figure is None:
            return True
        return self.figure <= self.bound + 1e-9 if self.at_most else self.figure >= self.bound

    def __str__(self) -> str:
        return f"{self.what} {self.shown} (needed: at {'most' if self.at_most else 'least'} {self.bound})"


def encode(folder: Path, manifest: ModelManifest, photos: Photos) -> Vectors:
    """Run both towers of the artifact in `folder`.

    Raises:
        ModelsError: a graph does not run.
    """
    tokenizer = load_tokenizer(folder, manifest.text)
    templates = expand(manifest.prompt_templates)
    prompts = [fill(template, label) for label in photos.labels for template in templates]
    image, text = Graph(folder / IMAGE_GRAPH), Graph(folder / TEXT_GRAPH)
    images = _run(image, photos.feeds())
    texts = _run(text, text_feeds(prompts, tokenizer, manifest.text))
    by_label = texts.reshape(len(photos.labels), len(templates), -1)  # [K, T, D]
    few = photos.take(np.arange(min(BATCH, len(photos))))
    alone = (
        _run(image, few.feeds(batch=1)),
        _run(text, text_feeds(prompts[:BATCH], tokenizer, manifest.text, batch=1)),
    )
    return Vectors(
        images=images,
        texts=texts,
        classifier=np.stack([ensemble(own) for own in by_label]),
        together=np.concatenate([images[:BATCH], texts[:BATCH]]),
        alone=np.concatenate(alone),
    )


def measure(
    fp32: Vectors,
    variant: Vectors,
    photos: Photos,
    *,
    made_of: str,
    method: Method | None,
    towers: list[Tower],
    calibration_photos: int,
    largest: Largest | None,
    trained: bool,
) -> Variant:
    """The figures that the manifest records. Those about labels are measured only if the model was `trained`.

    With random weights the vectors of all photos are nearly equal, and the smallest difference changes the first
    label.
    """
    image_cosines, text_cosines = cosines(fp32.images, variant.images), cosines(fp32.texts, variant.texts)
    agreement, right, drop = _top1(fp32, variant, photos) if trained else (None, None, None)
    return Variant(
        made_of=made_of,
        method=method,
        towers=towers,
        calibration_photos=calibration_photos,
        largest_value=largest and largest.value,
        largest_tensor=largest and f"{largest.graph}: {largest.tensor}",
        photos=len(photos),
        labels=len(photos.labels),
        mean_cosine=float(image_cosines.mean()),
        p1_cosine=float(np.percentile(image_cosines, 1)),
        text_mean_cosine=float(text_cosines.mean()),
        text_p1_cosine=float(np.percentile(text_cosines, 1)),
        batch_cosine=float(cosines(variant.together, variant.alone).min()),
        top1_agreement=agreement,
        top1=right,
        top1_drop=drop,
    )


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
    made = [Verdict(*figure, digits=needed.digits) for figure in figures]
    made.append(Verdict("top-1 drop", measured.top1_drop, needed.top1_drop, at_most=True))
    if needed.largest_value is not None:
        limit = needed.largest_value
        made.append(Verdict("largest value of fp32", measured.largest_value, limit, at_most=True, digits=1))
    return made


def judge(precision: VariantPrecision, measured: Variant) -> None:
    """Accept a variant if all its figures are within their bounds.

    Raises:
        ModelsError: one is not; the message has each failed figure, its bound, and what to try.
    """
    failed = [verdict for verdict in verdicts(precision, measured) if not verdict.good]
    if not failed:
        return
    advice = _advice(precision, measured, failed)
    raise ModelsError(
        f"the {precision} variant is not faithful to fp32 on {measured.photos} photos and {measured.labels} "
        f"labels, and was deleted: {'; '.join(map(str, failed))}. "
        f"Try {', or '.join(advice)}. Some models cannot be had in {precision}."
    )


def _advice(precision: VariantPrecision, measured: Variant, failed: Sequence[Verdict]) -> list[str]:
    advice = []
    if precision == "int8":
        advice.append("--method dynamic" if measured.method == "static" else "--method static")
    if measured.method == "static":
        advice.append(f"more photos to calibrate on ({measured.calibration_photos} did)")
    if len(measured.towers) == 2:
        failing = [t for t in measured.towers if any(verdict.what.startswith(t) for verdict in failed)]
        advice += [
            f"--no-{tower}, which keeps the {tower} tower fp32" for tower in failing or measured.towers
        ]
    return advice or ["the fp32 artifact"]


def _run(graph: Graph, feeds: Iterable[Feeds]) -> FloatArray:
    return np.concatenate([graph.run(feed) for feed in feeds])


def _top1(fp32: Vectors, variant: Vectors, photos: Photos) -> tuple[float, float | None, float | None]:
    """The agreement, the variant's top-1, and how much lower it is than fp32's; the last two may be None."""
    before, after = _first_labels(fp32, photos), _first_labels(variant, photos)
    agreement = _share_equal(before, after)
    if None in photos.truths:
        return agreement, None, None
    right = _share_equal(after, photos.truths)
    return agreement, right, _share_equal(before, photos.truths) - right


def _share_equal(one: Sequence[str | None], other: Sequence[str | None]) -> float:
    return float(np.mean([a == b for a, b in zip(one, other, strict=True)]))


def _first_labels(vectors: Vectors, photos: Photos) -> list[str]:
    return [photos.labels[best] for best in (vectors.images @ vectors.classifier.T).argmax(axis=1)]

"""Vectors of the device beside those of the CPU in fp32, for each number of rows and each length of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from clipserve.engine.backend import Embeddings
from loadtests.gpu_bare.findings import Line, at_least
from loadtests.gpu_bare.inputs import Feeds, first
from loadtests.gpu_bare.sessions import run

FP32, FP16 = 0.99999, 0.9999  # the lowest cosine; the mean of cosines
_CHUNK = 16  # rows of a call that computes the reference
_ALONE = 7


def cosines(one: Embeddings, other: Embeddings) -> npt.NDArray[np.float64]:
    """Of each row to the same row: [N], in double precision; NaN where a value is not finite."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):
        found = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.asarray(found, np.float64)


def reference(session: ort.InferenceSession, feeds: Feeds) -> Embeddings:
    """What the CPU computes for all rows: [N, D]."""
    count = len(next(iter(feeds.values())))
    return np.concatenate([run(session, first(feeds, _CHUNK, start)) for start in range(0, count, _CHUNK)])


def judged(variant: str, what: str, found: npt.NDArray[np.float64]) -> Line:
    """fp32 by its lowest cosine, fp16 by the mean; TF32 promises nothing, and is told."""
    if variant == "fp32":
        return at_least(variant, f"{what}, lowest cosine", float(found.min()), FP32)
    if variant == "fp16":
        return at_least(variant, f"{what}, mean cosine (lowest {found.min():.7f})", float(found.mean()), FP16)
    return Line(variant, f"{what}, mean cosine (lowest {found.min():.7f})", f"{found.mean():.7f}")


def compared(
    variant: str,
    tower: str,
    session: ort.InferenceSession,
    feeds: Feeds,
    expected: Embeddings,
    sizes: Sequence[int],
) -> Iterator[Line]:
    """A line for each number of rows, and one for rows alone against the same rows in the largest batch."""
    together = expected
    for rows in sizes:
        together = run(session, first(feeds, rows))
        yield judged(variant, f"{tower}, {rows} rows against the CPU", cosines(together, expected[:rows]))
    alone = np.concatenate(
        [run(session, first(feeds, 1, start)) for start in range(min(_ALONE, len(together)))]
    )
    yield judged(variant, f"{tower}, alone against in a batch", cosines(alone, together[: len(alone)]))

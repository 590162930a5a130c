"""Compares an encoder's vectors with the CPU's in fp32, for each number of rows; in process and on Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipserve.clip.reference import MIN_COSINE
from clipserve.engine.backend import Embeddings
from loadtests.gpu.findings import Line, at_least
from loadtests.gpu.inputs import Case, Feeds, part

FP32, FP16 = 0.99999, 0.9999  # the lowest cosine; the mean of cosines
_ALONE = 7


@dataclass(frozen=True)
class Encoder:
    """An encoder to check. `precision`: fp32 or fp16."""

    name: str
    precision: str
    compute: Callable[[Feeds], Embeddings]  # one call


def cosines(one: Embeddings, other: Embeddings) -> npt.NDArray[np.float64]:
    """The cosine of each row and the same row: [N], in double precision; NaN if a value is not finite."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):
        found = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.asarray(found, np.float64)


def judged(encoder: Encoder, what: str, found: npt.NDArray[np.float64]) -> Iterator[Line]:
    """The findings about cosines: the lowest, and for fp16 the mean too."""
    bound = FP32 if encoder.precision == "fp32" else MIN_COSINE[encoder.precision]
    yield at_least(encoder.name, f"{what}, lowest cosine", float(found.min()), bound)
    if encoder.precision != "fp32":
        yield at_least(encoder.name, f"{what}, mean cosine", float(found.mean()), FP16)


def compared(encoder: Encoder, case: Case, sizes: Sequence[int]) -> Iterator[Line]:
    """A line for each number of rows, for single rows against the largest batch, and for the export's vectors."""
    together = case.expected
    for rows in sizes:
        together = encoder.compute(part(case.feeds, rows))
        found = cosines(together, case.expected[:rows])
        yield from judged(encoder, f"{case.name}, {rows} rows against the CPU", found)
    each = [encoder.compute(part(case.feeds, 1, n)) for n in range(min(_ALONE, len(together)))]
    found = cosines(np.concatenate(each), together[: len(each)])
    yield from judged(encoder, f"{case.name}, alone against in a batch", found)
    if case.exported:
        feeds, stored = case.exported
        lowest, bound = float(cosines(encoder.compute(feeds), stored).min()), MIN_COSINE[encoder.precision]
        yield at_least(encoder.name, f"{case.name}, against the export, lowest cosine", lowest, bound)

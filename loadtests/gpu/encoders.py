"""Checks the vectors of encoders, here or on Triton, against the CPU's in fp32, for each number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from clipserve.clip.reference import MIN_COSINE
from clipserve.cores import usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.onnx import providers, session_options
from clipserve.engine.cuda import PROVIDER
from clipserve.engine.in_process import EngineOptions
from loadtests.gpu.findings import Findings, Line, at_least
from loadtests.gpu.inputs import Case, Feeds, part

FP32, FP16 = 0.99999, 0.9999  # the lowest cosine; the mean of cosines
_ALONE = 7


@dataclass(frozen=True)
class Variant:
    """The graphs in `folder`, on the GPU or the CPU. `precision`: fp32, fp16."""

    precision: str
    folder: Path
    cuda: bool

    def session(self, graph: str) -> ort.InferenceSession:
        """A session as in the service."""
        chosen = EngineOptions(self.cuda, 1 if self.cuda else usable_cores())
        path = self.folder / graph
        session = ort.InferenceSession(path, session_options(chosen), providers(chosen), enable_fallback=0)
        if self.cuda and PROVIDER not in session.get_providers():
            raise SystemExit(f"{path} does not run on CUDA")
        return session


def run(session: ort.InferenceSession, feeds: Feeds) -> Embeddings:
    """float32 [N, D]."""
    (embeddings,) = session.run(None, feeds)
    return np.asarray(embeddings, np.float32)


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


def vectors(findings: Findings, variant: Variant, case: Case, sizes: Sequence[int]) -> None:
    """Check vectors in process against the CPU's."""
    encoder = Encoder(variant.precision, variant.precision, partial(run, variant.session(case.graph)))
    findings.add(compared(encoder, case, sizes))

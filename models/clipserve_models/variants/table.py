"""Renders a table of a variant's size, speed and figures beside those of fp32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import reference_pixels
from clipserve_models.errors import ModelsError
from clipserve_models.variants.gate import verdicts
from clipserve_models.variants.job import VariantPrecision
from clipserve_models.verify import Feeds, session_of

_ROUNDS = 5
_TEXTS = 8
_SECONDS = 0.4  # of each artifact in each round


def rates(graphs: Sequence[Path], feeds: Feeds, rows: int) -> list[float]:
    """Rows per second of each graph, `rows` in each call: the median of some rounds in which they take turns."""
    sessions = [session_of(path) for path in graphs]
    measured: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        session.run(None, dict(feeds))  # the first call allocates memory
    for _ in range(_ROUNDS):
        for session, own in zip(sessions, measured, strict=True):
            started, count = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - started) < _SECONDS:
                session.run(None, dict(feeds))
                count += rows
            own.append(count / elapsed)
    return [statistics.median(own) for own in measured]


def _speeds(folders: Sequence[Path], manifest: ModelManifest) -> list[tuple[str, str, str, str]]:
    length = manifest.text.lengths[min(1, len(manifest.text.lengths) - 1)]
    texts = {
        "token_ids": np.ones((_TEXTS, length), np.int32),
        "lengths": np.full(_TEXTS, length, np.int32),
    }
    rows = []
    for what, graph, feeds, count in (
        ("images/s, one a call", IMAGE_GRAPH, {"pixels": reference_pixels(manifest.image.size)[:1]}, 1),
        (f"texts/s, {_TEXTS} of {length} tokens", TEXT_GRAPH, texts, _TEXTS),
    ):
        before, after = rates([folder / graph for folder in folders], feeds, count)
        rows.append((what, f"{before:.1f}", f"{after:.1f}", ""))
    return rows


def table(
    precision: VariantPrecision, fp32: Path, variant: Path, made: ModelManifest, *, timing: bool
) -> str:
    """The table: each line has a name, fp32's figure, the variant's figure and the bound that it must keep."""
    measured = made.variant
    if measured is None:
        raise ModelsError(f"{variant} does not say how it was made.")
    before, after = (f"{_megabytes(folder):.1f}" for folder in (fp32, variant))
    rows = [("", "fp32", precision, "needed"), ("size, MB", before, after, "")]
    if timing:
        rows += _speeds([fp32, variant], made)
    for verdict in verdicts(precision, measured):
        rows.append((verdict.what, "", verdict.shown, f"{'<=' if verdict.at_most else '>='} {verdict.bound}"))
    rows.append(("cosine, alone to in a batch", "", f"{measured.batch_cosine:.6f}", ""))
    if measured.top1 is not None and measured.top1_drop is not None:
        rows.append(("top-1", f"{measured.top1 + measured.top1_drop:.1%}", f"{measured.top1:.1%}", ""))
    return "\n".join(f"{a:<30}{b:>8}{c:>14}  {d}".rstrip() for a, b, c, d in rows)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6

"""Checks in onnxruntime, without torch, that an artifact computes the same as its original."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from clipserve.clip import reference
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest, verify_files
from clipserve.clip.manifest import ModelManifest, TextSpec
from clipserve.clip.reference_inputs import check_inputs
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve.cores import usable_cores
from clipserve.engine.in_process import return_freed_memory
from clipserve_models.errors import ModelsError

# The largest difference of an fp32 export from its framework: only the order of additions may differ.
MIN_COSINE = reference.MIN_COSINE["fp32"]
MAX_DIFFERENCE = 1e-4

Feeds = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Case:
    """One run of one graph, and the original framework's result."""

    what: str
    graph: str
    feeds: Feeds
    expected: npt.NDArray[np.float32]  # [N, D], unit length


@dataclass(frozen=True)
class Outcome:
    """The difference of a case's vectors from the expected ones: the lowest cosine, the largest difference."""

    what: str
    cosine: float
    difference: float

    @property
    def good(self) -> bool:
        return self.cosine > MIN_COSINE and self.difference < MAX_DIFFERENCE

    def __str__(self) -> str:
        verdict = "ok" if self.good else "WRONG"
        return f"{self.what:<32} cosine {self.cosine:.8f}  max difference {self.difference:.1e}  {verdict}"


def session_of(path: Path, *, prepack: bool = True, optimized: bool = True) -> onnxruntime.InferenceSession:
    """A graph, loaded in onnxruntime on all cores of this machine.

    `prepack`: a second copy of the weights, in the order of the kernels, which pays after a few calls. `optimized`:
    without it all nodes stay as they are in the file.

    Raises:
        ModelsError: onnxruntime does not load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise ModelsError(f"onnxruntime does not load {path}: {error}") from None


class Graph:
    """One graph of an artifact, loaded."""

    def __init__(self, path: Path, *, prepack: bool = True) -> None:
        """`prepack` as for `session_of`. Raises ModelsError if onnxruntime does not load it."""
        self._path = path
        self._session = session_of(path, prepack=prepack)

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        """The embeddings [N, D]. Raises ModelsError if the graph fails on these feeds."""
        try:
            embeddings: npt.NDArray[np.float32] = self._session.run(None, dict(feeds))[0]
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise ModelsError(f"{self._path} fails in onnxruntime: {error}") from None
        return embeddings


def cases(
    pixels: npt.NDArray[np.uint8],  # [5, S, S, 3], the two of `reference.reference_pixels` first
    images: npt.NDArray[np.float32],  # [5, D], what they become
    tokenizer: Tokenizer,
    text: TextSpec,
    texts: npt.NDArray[np.float32],  # [3, D], what `reference.REFERENCE_TEXTS` become
) -> list[Case]:
    """The runs on which the graphs are compared; the first two give the manifest's reference vectors."""
    rows = tokenizer.encode(reference.REFERENCE_TEXTS, truncate=True)
    shortest = max(len(row.ids) for row in rows) if text.padding == "trim" else text.context_length

    def text_case(what: str, count: int, length: int) -> Case:
        token_ids, lengths = tokenizer.pad(rows[:count], length)
        return Case(what, TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths}, texts[:count])

    return [
        Case("the reference images", IMAGE_GRAPH, {"pixels": pixels[:2]}, images[:2]),
        text_case("the reference texts", len(rows), shortest),
        Case("a batch of 3 images", IMAGE_GRAPH, {"pixels": pixels[2:]}, images[2:]),
        Case("one image", IMAGE_GRAPH, {"pixels": pixels[2:3]}, images[2:3]),
        text_case(f"texts padded to {text.context_length}", len(rows), text.context_length),
        text_case("one text", 1, shortest),
    ]


def check(folder: Path, cases: Sequence[Case], framework: str, say: Callable[[str], None]) -> None:
    """Compare files, pixels and tokens with the manifest, then the graphs with what `framework` computed.

    Raises:
        ArtifactError, ModelsError: they differ.
    """
    _verified_inputs(folder)
    outcomes = compare(folder, cases)
    for outcome in outcomes:
        say(f"  {outcome}")
    if not all(outcome.good for outcome in outcomes):
        raise ModelsError(
            f"the graphs do not compute what {framework} computes (cosine must be above {MIN_COSINE}, "
            f"differences below {MAX_DIFFERENCE})."
        )


def compare(folder: Path, cases: Sequence[Case]) -> list[Outcome]:
    """Run the cases and compare, one graph after the other, because each takes more memory than its file."""
    names = dict.fromkeys(case.graph for case in cases)
    return [
        outcome
        for name in names
        for outcome in _compare(folder / name, [case for case in cases if case.graph == name])
    ]


def _compare(path: Path, cases: Sequence[Case]) -> list[Outcome]:
    """The cosine is NaN if the graph returned values that are not finite."""
    graph, outcomes = Graph(path, prepack=False), []
    for case in cases:
        actual = graph.run(case.feeds)  # [N, D]
        if actual.shape != case.expected.shape:
            raise ModelsError(f"{case.what}: the graph gave {actual.shape}, not {case.expected.shape}")
        cosine = reference.lowest_cosine(actual, case.expected)
        difference = np.abs(actual - case.expected).max()
        outcomes.append(Outcome(case.what, cosine, float(difference)))
    del graph
    return_freed_memory()
    return outcomes


def verify(folder: Path) -> tuple[ModelManifest, float]:
    """Compare the files with their checksums, and pixels, tokens and vectors with the manifest's.

    Returns:
        the manifest and the lowest cosine found.

    Raises:
        ArtifactError: the artifact is incomplete, altered, or computes something else.
        ModelsError: a graph does not run.
    """
    manifest, tokenizer = _verified_inputs(folder)
    rows = tokenizer.encode(reference.REFERENCE_TEXTS, truncate=True)
    longest = max(len(row.ids) for row in rows)
    token_ids, lengths = tokenizer.pad(rows, manifest.text.padded_length(longest))
    pixels = reference.reference_pixels(manifest.image.size)
    images = Graph(folder / IMAGE_GRAPH, prepack=False).run({"pixels": pixels})
    return_freed_memory()
    texts = Graph(folder / TEXT_GRAPH, prepack=False).run({"token_ids": token_ids, "lengths": lengths})
    return manifest, reference.check(manifest, images, texts)


def _verified_inputs(folder: Path) -> tuple[ModelManifest, Tokenizer]:
    """All of `verify` but the vectors."""
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    tokenizer = load_tokenizer(folder, manifest.text)
    check_inputs(manifest, tokenizer)
    return manifest, tokenizer

"""Whether Triton computes the model: cosines to the manifest's vectors, and to onnxruntime in fp32 on this CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import tritonclient.grpc as client

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.reference import MIN_COSINE, REFERENCE_TEXTS, lowest_cosine, reference_pixels
from loadtests.gpu.inputs import Inputs, Rows, bounds, count, part, tensors
from loadtests.gpu.servers import Triton

Vectors = npt.NDArray[np.float32]  # [N, D]
_ALONE = 8  # rows that are also computed alone


@dataclass(frozen=True)
class Cosines:
    """The lowest cosine of a tower's rows.

    Attributes:
        manifest: of the reference inputs, to the vectors of the export.
        rows: of calls of so many rows, to the CPU's vectors.
        lengths: of texts of each padded length, likewise; none for images.
        alone: of rows in a call of their own, to the same rows in a batch.
    """

    manifest: float
    rows: dict[str, float]
    lengths: dict[str, float]
    alone: float

    @property
    def lowest(self) -> float:
        """Of all."""
        return min(self.manifest, self.alone, *self.rows.values(), *self.lengths.values())


class Asker:
    """Asks one Triton for vectors, and this CPU for the same of the artifact `standard`."""

    def __init__(self, triton: Triton, standard: Path) -> None:
        self._triton = triton
        self._client = client.InferenceServerClient(triton.url)
        self._sessions = {
            tower: ort.InferenceSession(standard / graph, providers=["CPUExecutionProvider"])
            for tower, graph in (("image", IMAGE_GRAPH), ("text", TEXT_GRAPH))
        }

    def triton(self, tower: str, rows: Rows, size: int | None = None) -> Vectors:
        """In calls of `size` rows; as many as one takes, if that is less."""
        model = self._triton.models[tower]
        step = min(size or count(rows), model.max_batch_size)
        answers = [
            self._client.infer(model.name, tensors(part(rows, start, start + step))).as_numpy("embedding")
            for start in range(0, count(rows), step)
        ]
        return np.concatenate(answers)

    def cpu(self, tower: str, rows: Rows) -> Vectors:
        """Row by row, so that nothing depends on a batch."""
        session = self._sessions[tower]
        return np.concatenate(
            [session.run(None, part(rows, each, each + 1))[0] for each in range(count(rows))]
        )

    def close(self) -> None:
        self._client.close()


def compare(triton: Triton, inputs: Inputs, standard: Path, sizes: Sequence[int]) -> dict[str, Cosines]:
    """Tower -> its cosines. `standard`: the artifact in fp32; `sizes`: rows of the calls, those that fit."""
    asker = Asker(triton, standard)
    try:
        return {
            "image": _compare(asker, triton, "image", sizes, {0: inputs.images(max(sizes))}, _images(inputs)),
            "text": _compare(
                asker,
                triton,
                "text",
                sizes,
                {
                    length: inputs.texts(max(sizes), length, shorter)
                    for shorter, length in bounds(triton.lengths)
                },
                _texts(inputs, triton.lengths),
            ),
        }
    finally:
        asker.close()


def _compare(
    asker: Asker,
    triton: Triton,
    tower: str,
    sizes: Sequence[int],
    rows: dict[int, Rows],
    reference: tuple[Rows, Vectors],
) -> Cosines:
    """`rows`: by padded length, of which the first is that of most texts."""
    given, stored = reference
    fitting = [size for size in sizes if size <= triton.models[tower].max_batch_size]
    first = next(iter(rows.values()))
    expected = asker.cpu(tower, first)
    batched = {size: asker.triton(tower, part(first, 0, size), size) for size in fitting}
    few = min(_ALONE, count(first))
    return Cosines(
        manifest=lowest_cosine(asker.triton(tower, given), stored),
        rows={str(size): lowest_cosine(made, expected[:size]) for size, made in batched.items()},
        lengths={
            str(length): lowest_cosine(asker.triton(tower, each), asker.cpu(tower, each))
            for length, each in rows.items()
            if length
        },
        alone=lowest_cosine(asker.triton(tower, part(first, 0, few), 1), asker.triton(tower, first)[:few]),
    )


def _images(inputs: Inputs) -> tuple[Rows, Vectors]:
    stored = np.asarray(inputs.manifest.reference.image_embeddings, np.float32)
    return {"pixels": reference_pixels(inputs.manifest.image.size)}, stored


def _texts(inputs: Inputs, lengths: Sequence[int]) -> tuple[Rows, Vectors]:
    texts = inputs.tokenizer.encode(REFERENCE_TEXTS, truncate=True)
    longest = max(len(text.ids) for text in texts)
    token_ids, counts = inputs.tokenizer.pad(texts, min(each for each in lengths if each >= longest))
    stored = np.asarray(inputs.manifest.reference.text_embeddings, np.float32)
    return {"token_ids": token_ids, "lengths": counts}, stored


def report(cosines: dict[str, Cosines], precision: str) -> dict[str, Any]:
    """For a report: all cosines, the bound of the precision, and whether all keep it."""
    bound = MIN_COSINE[precision]
    return {
        "bound": bound,
        "kept": all(each.lowest >= bound for each in cosines.values()),
        "towers": {tower: asdict(each) for tower, each in cosines.items()},
    }

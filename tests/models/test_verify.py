"""How far a graph is from what its original computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.reference import reference_pixels
from clipserve.clip.reference_inputs import check_inputs
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.verify import Case, Graph, compare

MANIFEST = read_manifest(DEMO)
PIXELS = {"pixels": reference_pixels(MANIFEST.image.size)}
STORED = np.array(MANIFEST.reference.image_embeddings, np.float32)  # [2, D]


@pytest.mark.parametrize(
    ("expected", "cosine", "good"), [(STORED, 1, True), (2 * STORED, 1, False), (STORED[::-1], 0.14, False)]
)
def test_a_cosine_is_that_of_the_directions_and_a_wrong_length_is_still_wrong(
    expected: np.ndarray, cosine: float, good: bool
) -> None:
    (outcome,) = compare(DEMO, [Case("the reference images", "image.onnx", PIXELS, expected)])
    assert outcome.cosine == pytest.approx(cosine, abs=0.01)
    assert outcome.good is good


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "image.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelsError, match=r"onnxruntime does not load .*image\.onnx"):
        Graph(tmp_path / "image.onnx")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (
            "image",
            {"resize": "squash"},
            r"other pixels .* differ by \d\d+ of 255.* says squash, bicubic",
        ),
        ("text", {"context_length": 16}, r"other tokens .* says context_length 16, eot_id 102, pad_id 0"),
    ],
)
def test_what_a_photo_and_texts_become_is_compared_with_the_export(
    part: str, change: dict[str, object], said: str
) -> None:
    tokenizer = load_tokenizer(DEMO, MANIFEST.text)
    check_inputs(MANIFEST, tokenizer)
    other = MANIFEST.model_copy(update={part: getattr(MANIFEST, part).model_copy(update=change)})
    with pytest.raises(ArtifactError, match=said):
        check_inputs(other, load_tokenizer(DEMO, other.text))
    # Of an artifact that does not say what they became, nothing is compared.
    unknown = MANIFEST.reference.model_copy(update={"pixels": None, "token_ids": None})
    check_inputs(other.model_copy(update={"reference": unknown}), load_tokenizer(DEMO, other.text))

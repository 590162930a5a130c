"""The self-test has the same inputs everywhere, and finds what an engine or the preprocessing changes."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import check, cosines, reference_pixels
from clipserve.clip.reference_inputs import check_inputs, digest, reference_photo, sample
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO

MANIFEST = read_manifest(DEMO)
IMAGES, TEXTS = np.eye(2, 4, dtype=np.float32), np.eye(3, 4, dtype=np.float32)


def test_the_inputs_are_those_of_all_exports() -> None:
    pixels = reference_pixels(6)
    assert pixels.shape == (2, 6, 6, 3)
    assert pixels.dtype == np.uint8
    photo = Image.open(io.BytesIO(reference_photo(6)))
    assert (photo.format, photo.mode, photo.size) == ("PNG", "RGB", (23, 14))
    digests = [hashlib.sha256(data).hexdigest()[:16] for data in (pixels.tobytes(), photo.tobytes())]
    assert digests == ["9b0c8dccfde72807", "266d110d71a73541"]


def test_a_sample_is_of_eight_rows_and_columns_from_edge_to_edge() -> None:
    rows, columns = np.mgrid[:32, :32]
    taken = np.reshape(sample(np.stack([rows, columns, rows + columns], axis=-1)), (8, 8, 3))
    assert taken[:, 0, 0].tolist() == taken[0, :, 1].tolist() == [2, 6, 10, 14, 18, 22, 26, 30]


def test_token_ids_have_one_digest_whatever_their_type() -> None:
    ids = np.array([[1, 2], [3, 70_000]])
    assert (
        digest(ids) == digest(ids.astype(np.int32)) == hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()
    )


def manifest(precision: str) -> ModelManifest:
    vectors = {"image_embeddings": IMAGES.tolist(), "text_embeddings": TEXTS.tolist()}
    reference = MANIFEST.reference.model_copy(update=vectors)
    return MANIFEST.model_copy(update={"precision": precision, "reference": reference})


def turned(vectors: np.ndarray, cosine: float) -> np.ndarray:
    """The same vectors, twice as long, of which the last has this cosine to what it was."""
    made = 2 * vectors
    made[-1] *= cosine
    made[-1, -1] = 2 * (1 - cosine**2) ** 0.5
    return made


@pytest.mark.parametrize(
    ("of", "engine", "bound"),
    [
        ("fp32", None, 0.99999),
        ("fp16", None, 0.9995),
        ("bf16", None, 0.99),
        ("int8", None, 0.97),
        ("fp32", "bf16", 0.99),
        ("int8", "bf16", 0.97),
    ],
)
def test_an_engine_may_differ_by_the_bound_of_the_lower_precision(
    of: str, engine: str | None, bound: float
) -> None:
    near, far = 1 - (1 - bound) * 0.8, 1 - (1 - bound) * 1.2
    good = manifest(of)
    assert check(good, IMAGES, TEXTS, engine) == 1.0
    assert check(good, turned(IMAGES, near), TEXTS, engine) == pytest.approx(near, abs=1e-6)
    assert check(good, IMAGES, turned(TEXTS, near), engine) == pytest.approx(near, abs=1e-6)
    with pytest.raises(ArtifactError, match=rf"the image encoder is at cosine .*, below {bound}\."):
        check(good, turned(IMAGES, far), TEXTS, engine)
    with pytest.raises(ArtifactError, match=rf"the text encoder is at cosine .*, below {bound}\."):
        check(good, IMAGES, turned(TEXTS, far), engine)


@pytest.mark.parametrize("row", [[np.nan] * 4, [np.inf] * 4, [0.0] * 4])
def test_vectors_that_are_none_are_found_without_a_warning(row: list[float]) -> None:
    broken = np.array([row, IMAGES[1]], np.float32)
    assert np.isnan(cosines(broken, IMAGES)).tolist() == [True, False]
    with pytest.raises(ArtifactError, match="the image encoder is at cosine nan"):
        check(manifest("int8"), broken, TEXTS)


def test_vectors_of_another_number_or_length_are_found() -> None:
    with pytest.raises(ArtifactError, match=r"the image encoder gave \(1, 4\), not \(2, 4\)"):
        check(manifest("fp32"), IMAGES[:1], TEXTS)
    with pytest.raises(ArtifactError, match=r"the text encoder gave \(3, 3\), not \(3, 4\)"):
        check(manifest("fp32"), IMAGES, TEXTS[:, :3])


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


def test_a_pixel_may_differ_by_2_of_255() -> None:
    tokenizer = load_tokenizer(DEMO, MANIFEST.text)
    stored = MANIFEST.reference.pixels
    assert stored is not None

    def differing(by: int) -> ModelManifest:
        pixels = [*stored[:-1], stored[-1] + by]
        return MANIFEST.model_copy(
            update={"reference": MANIFEST.reference.model_copy(update={"pixels": pixels})}
        )

    for by in (2, -2):
        check_inputs(differing(by), tokenizer)
    for by in (3, -3):
        with pytest.raises(ArtifactError, match="they differ by 3 of 255, more than 2"):
            check_inputs(differing(by), tokenizer)

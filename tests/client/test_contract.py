"""What `Clip`, `Client` and `AsyncClient` have in common, which is all but where the model is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipserve
from clipserve.client.errors import FingerprintChanged, ItemFailed, Refused
from clipserve.client.results import Embeddings
from tests.client.conftest import CLIENTS, client_of
from tests.support.process import ROOT
from tests.support.service import png

CAT = ROOT / "docs/cat.jpg"
DIM = 384


@pytest.fixture(params=["Clip", *CLIENTS])
def clip(request: pytest.FixtureRequest, demo: str, in_process: clipserve.Clip) -> Iterator[Any]:
    if request.param == "Clip":
        yield in_process
    else:
        with client_of(request.param, demo) as client:
            yield client


def near(vectors: Any, others: Any) -> None:
    """In a batch the last bits differ."""
    np.testing.assert_allclose(vectors, others, rtol=0, atol=1e-4)


def turned() -> bytes:
    """A photo that its EXIF tag turns."""
    with Image.open(CAT) as photo:
        exif = photo.getexif()
        exif[0x0112] = 6
        file = io.BytesIO()
        photo.save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


def check(embedded: Embeddings, failed: dict[int, str]) -> None:
    """Vectors for all but those that have failed."""
    assert {position: error.code for position, error in embedded.errors.items()} == failed
    assert all(isinstance(error, ItemFailed) for error in embedded.errors.values())
    assert embedded.vectors.dtype == np.float32
    good = [row for row in range(len(embedded.vectors)) if row not in failed]
    assert np.isnan(embedded.vectors[[*failed]]).all()
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors[good], axis=1), 1, rtol=0, atol=1e-3)


def test_an_image_has_one_vector_however_it_is_given(clip: Any) -> None:
    with Image.open(CAT) as photo:
        forms = [str(CAT), CAT, CAT.read_bytes(), photo, np.asarray(photo)]
        embedded = clip.embed_images(forms)
    assert embedded.vectors.shape == (5, DIM)
    check(embedded, {})
    for row in embedded.vectors:
        near(row, embedded.vectors[0])


def test_a_photo_is_turned_upright_however_it_is_given(clip: Any) -> None:
    with Image.open(io.BytesIO(turned())) as photo:
        file, opened = clip.embed_images([turned(), photo]).vectors
    near(file, opened)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_a_picture_of_every_mode_is_the_file_that_it_would_be(clip: Any, mode: str) -> None:
    with Image.open(CAT) as photo:
        picture = photo.convert("RGB" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    saved = io.BytesIO()
    picture.save(saved, "JPEG" if mode == "CMYK" else "PNG", **({"quality": 100} if mode == "CMYK" else {}))
    with Image.open(saved) as opened:
        given, file = clip.embed_images([opened, saved.getvalue()]).vectors
    near(given, file)


@pytest.mark.parametrize("mode", ["I", "F", "YCbCr"])
def test_a_picture_of_a_mode_that_no_png_has_is_the_photo_that_it_shows(clip: Any, mode: str) -> None:
    with Image.open(CAT) as photo:
        grey = photo if mode == "YCbCr" else photo.convert("L")
        shown, given = clip.embed_images([grey.convert("RGB"), grey.convert(mode)]).vectors
    assert shown @ given > 0.999


def test_images_that_are_bad_fail_alone(clip: Any, tmp_path: Path) -> None:
    embedded = clip.embed_images(
        [CAT, tmp_path / "nowhere.jpg", b"no image", CAT.read_bytes()[:1_000], tmp_path, CAT]
    )
    codes = {1: "unreadable_file", 2: "unsupported_format", 3: "undecodable_image", 4: "unreadable_file"}
    check(embedded, codes)
    assert len(embedded.vectors) == 6


def test_more_images_than_a_request_may_have_come_in_order(clip: Any) -> None:
    images = [png(seed) for seed in range(40)]
    embedded = clip.embed_images(iter(images))
    check(embedded, {})
    near(clip.embed_images(images[::-1]).vectors[::-1], embedded.vectors)


def test_where_all_fail_there_are_rows_nevertheless_and_where_nothing_is_asked_there_are_none(
    clip: Any,
) -> None:
    failed = clip.embed_images([b"no image"])
    assert (failed.vectors.shape, failed.fingerprint) == ((1, DIM), clip.served_by().fingerprint)
    check(failed, {0: "unsupported_format"})
    assert clip.embed_texts([]).vectors.shape == (0, DIM)
    assert clip.classify([], ["a cat"]).labels == []


def test_a_text_that_is_too_long_fails_alone_or_is_cut(clip: Any) -> None:
    texts = ["a cat", "cat " * 500, "a kitten", "a lorry", "\ud800"]
    embedded = clip.embed_texts(texts)
    check(embedded, {1: "text_too_long", 4: "invalid_input"})
    cat, _, kitten, lorry, _ = embedded.vectors
    assert cat @ kitten > cat @ lorry
    check(clip.embed_texts(texts[:4], truncate=True), {})


def test_labels_are_scored_and_those_of_bad_images_are_missing(clip: Any) -> None:
    classified = clip.classify(
        [CAT, b"no image"], ["a dog", "a cat", "a car"], templates=["a photo of {}"], top_k=2
    )
    best, second = classified.labels[0]
    assert (best.label, classified.labels[1]) == ("a cat", ())
    assert best.score > 0.5 > second.score > 0
    assert best.logit > second.logit
    assert -1 < second.cosine < best.cosine < 1
    assert classified.errors[1].code == "unsupported_format"
    assert classified.fingerprint == clip.served_by().fingerprint
    assert classified.warnings == []


def test_options_of_scores_are_the_service_s(clip: Any) -> None:
    labels = ["a cat", "a car"]
    plain = clip.classify([CAT], labels).labels[0]
    by_cosine = clip.classify([CAT], labels, scoring="cosine").labels[0]
    assert by_cosine[0].score == pytest.approx(plain[0].cosine, abs=1e-4)
    assert clip.classify([CAT], labels, temperature=100.0).labels[0][0].score < plain[0].score
    assert len(clip.classify([CAT], labels, threshold=0.5).labels[0]) == 1
    assert not clip.classify([CAT], labels[1:], threshold=0.5, background=["a cat"]).labels[0]
    assert clip.classify([CAT], ["a cat"]).warnings  # one label alone is always certain


def test_a_client_is_pinned_to_the_model_that_it_has(clip: Any) -> None:
    assert clip.pin() == clip.served_by()
    assert clip.embed_texts(["a cat"]).fingerprint == clip.pin().fingerprint


def test_what_is_wrong_with_a_question_is_no_image_s_error(clip: Any) -> None:
    for labels, options, code in (
        (["a", "a"], {}, "invalid_input"),
        ([], {"label_set": "nowhere"}, "unknown_label_set"),
        (["a"], {"templates": ["no slot"]}, "bad_prompt_template"),
        (["a", "\ud800"], {}, "invalid_input"),
    ):
        with pytest.raises(Refused) as refused:
            clip.classify([CAT], labels, **options)
        assert refused.value.code == code


def test_items_come_in_lists(clip: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: clip.embed_images(str(CAT)),
        lambda: clip.embed_images(CAT),
        lambda: clip.embed_images(np.zeros((8, 8, 3), np.uint8)),
        lambda: clip.embed_texts("a cat"),
        lambda: clip.embed_texts([7]),
        lambda: clip.classify([CAT], "a cat"),
        lambda: clip.embed_images([7]),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="a list of items, not one str: put it in brackets"):
        clip.classify([CAT], "a cat")
    for array in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
            clip.embed_images([array])


@pytest.mark.parametrize("kind", CLIENTS)
def test_another_fingerprint_than_is_expected_is_refused(kind: str, demo: str) -> None:
    with client_of(kind, demo, expect_fingerprint="other@fp32-0123456789ab") as client:
        for call in (
            lambda: client.embed_images([CAT]),
            lambda: client.embed_texts(["a cat"]),
            lambda: client.classify([CAT], ["a cat", "a dog"]),
            client.served_by,
        ):
            with pytest.raises(FingerprintChanged):
                call()

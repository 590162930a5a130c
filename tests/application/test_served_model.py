"""A model serves when its files are whole and its engine computes what the export did, and not before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.application.served_model import ServedModel, reference_feeds
from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from loadtests.fake_backend import FakeBackend
from tests.support.logs import Log
from tests.support.service import CONTEXT, DIM, EOT, SIZE, Recording, served_model, write_toy_artifact


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    return await write_toy_artifact(tmp_path)


async def test_a_model_is_ready_after_start_and_as_long_as_its_backend_is(folder: Path) -> None:
    backend = FakeBackend(DIM)
    model = served_model(folder, backend)
    assert model.name == "toy"
    assert not model.started
    assert not await model.ready()
    await backend.start()
    assert not await model.ready(), "the self-test has not passed"
    await model.start(folder)
    assert model.started
    assert await model.ready()
    await model.aclose()
    assert not await backend.ready()
    assert not await model.ready()


async def test_the_fingerprint_follows_the_choices_and_the_precision_of_the_engine(folder: Path) -> None:
    manifest = read_manifest(folder)
    plain = served_model(folder, FakeBackend(DIM))
    assert plain.fingerprint == manifest.fingerprint()
    await plain.start(folder)
    assert plain.fingerprint == manifest.fingerprint()

    narrow = FakeBackend(DIM)
    narrow.precision = "bf16"
    model = served_model(folder, narrow, choices=["exif_transpose=false"])
    assert model.fingerprint == manifest.fingerprint("exif_transpose=false")
    await model.start(folder)
    assert model.fingerprint == manifest.fingerprint("exif_transpose=false", precision="bf16")
    assert model.fingerprint.startswith("toy@bf16-")


class Noisy(FakeBackend):
    """Its vectors are at a cosine of about 0.995 to the right ones: enough for bf16, too little for fp32."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        vectors = await super().encode_image(pixels)
        noise = np.random.default_rng(0).standard_normal(vectors.shape)
        noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        return np.asarray((vectors + 0.1 * noise) / np.hypot(1, 0.1), np.float32)


async def test_the_bound_of_the_self_test_is_that_of_the_engine_s_precision(folder: Path) -> None:
    backend = Noisy(DIM)
    with pytest.raises(ArtifactError, match=r"below 0\.99999\."):
        await served_model(folder, backend).start(folder)
    backend.precision = "bf16"
    await served_model(folder, backend).start(folder)


class Other(FakeBackend):
    """Computes another model in one of its towers."""

    def __init__(self, tower: str) -> None:
        super().__init__(DIM)
        self._tower = tower

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        vectors = await super().encode_image(pixels)
        return vectors[::-1] if self._tower == "image" else vectors

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        vectors = await super().encode_text(token_ids, lengths)
        return vectors[::-1] if self._tower == "text" else vectors


@pytest.mark.parametrize("tower", ["image", "text"])
async def test_an_engine_that_computes_something_else_is_not_served(folder: Path, tower: str) -> None:
    model = served_model(folder, Other(tower))
    with pytest.raises(ArtifactError, match=f"the {tower} encoder is at cosine"):
        await model.start(folder)
    assert not model.started
    assert not await model.ready()


async def test_a_damaged_file_is_found_before_the_backend_is_loaded(folder: Path) -> None:
    backend = FakeBackend(DIM)
    model = served_model(folder, backend)
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json has SHA-256"):
        await model.start(folder)
    assert not model.started
    assert not await backend.ready()


class Shy(Recording):
    """Raises the errors given, one a call, and then works."""

    def __init__(self, *errors: ClipError) -> None:
        super().__init__(DIM)
        self._errors = list(errors)

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        vectors = await super().encode_image(pixels)
        if self._errors:
            raise self._errors.pop(0)
        return vectors


async def test_a_self_test_is_postponed_while_the_backend_is_away_late_or_full(
    folder: Path, written: Log
) -> None:
    errors = [BackendUnavailable("gone"), DeadlineExceeded("late"), Overloaded("full", retry_after=1)]
    backend = Shy(*errors)
    model = served_model(folder, backend)
    began = time.monotonic()
    await model.start(folder)
    assert await model.ready()
    assert backend.images == [2] * 5  # the last to learn how long it takes
    assert time.monotonic() - began >= 3 * 0.49, "it has not waited before it asked again"
    postponed = [line for line in written.lines if line["event"] == "self_test_postponed"]
    assert [(line["model"], line["reason"]) for line in postponed] == [
        ("toy", "gone"),
        ("toy", "late"),
        ("toy", "full"),
    ]


async def test_a_backend_that_fails_at_the_self_test_is_not_asked_again(folder: Path) -> None:
    backend = Shy(BackendFailed("bad"))
    model = served_model(folder, backend)
    with pytest.raises(BackendFailed):
        await model.start(folder)
    assert backend.images == [2]
    assert not model.started


async def test_a_backend_that_can_never_work_ends_the_start(folder: Path) -> None:
    class Never(FakeBackend):
        async def start(self) -> None:
            raise BackendUnavailable("never")

    model = served_model(folder, Never(DIM))
    with pytest.raises(BackendUnavailable, match="never"):
        await model.start(folder)
    assert not model.started


async def test_the_log_says_what_is_served(folder: Path, written: Log) -> None:
    model = served_model(folder, FakeBackend(DIM, delay=0.05))
    await model.start(folder)
    (line,) = written.lines
    assert (line["event"], line["model"], line["fingerprint"]) == ("model_ready", "toy", model.fingerprint)
    assert (line["engine"], line["precision"]) == ("fake", "fp32")
    assert line["ms_per_call"] >= 50
    assert line["self_test_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert 0.05 <= line["seconds"] < 60


async def feeds_of(folder: Path, text: TextSpec) -> tuple[dict[str, dict[str, Any]], ServedModel]:
    await write_toy_artifact(folder, text=text)
    model = served_model(folder, FakeBackend(DIM))
    return reference_feeds(model.manifest, load_tokenizer(folder, text)), model


async def test_the_reference_feeds_are_those_that_the_manifest_has_the_vectors_of(tmp_path: Path) -> None:
    feeds, model = await feeds_of(tmp_path, TextSpec(context_length=CONTEXT, eot_id=EOT))
    assert set(feeds) == {"image.onnx", "text.onnx"}
    backend = FakeBackend(DIM)
    await backend.start()
    images = await backend.encode_image(**feeds["image.onnx"])
    texts = await backend.encode_text(**feeds["text.onnx"])
    assert np.allclose(images, model.manifest.reference.image_embeddings)
    assert np.allclose(texts, model.manifest.reference.text_embeddings)
    assert np.array_equal(feeds["image.onnx"]["pixels"], reference_pixels(SIZE))
    assert feeds["text.onnx"]["token_ids"].shape == (3, CONTEXT), "they are truncated"


async def test_the_reference_texts_are_padded_to_the_length_of_the_longest(tmp_path: Path) -> None:
    feeds, _ = await feeds_of(tmp_path, TextSpec(context_length=77, eot_id=EOT))
    longest = max(len(text) for text in REFERENCE_TEXTS) + 2
    assert (longest, feeds["text.onnx"]["token_ids"].shape) == (30, (3, 32))
    assert feeds["text.onnx"]["lengths"].max() == longest

"""What every backend must do, whichever it is: alone, wrapped, or real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.reference import REFERENCE_TEXTS, check, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backend import Backend, Embeddings
from clipserve.engine.backends.auto import open_auto
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import Engine, EngineOptions, Feeds, InProcess
from clipserve.errors import BackendFailed, BackendUnavailable
from loadtests.fake_backend import FakeBackend
from tests.engine.support import batched

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANIFEST = read_manifest(DEMO)
TOKENIZER = load_tokenizer(DEMO, MANIFEST.text)
PIXELS = reference_pixels(MANIFEST.image.size)  # [2, S, S, 3]
TEXTS = ["cat", "a photo of a dog", "the Eiffel tower at night, seen from a boat on the river"]


BACKENDS: dict[str, Callable[[], Backend]] = {
    "fake": lambda: FakeBackend(MANIFEST.embed_dim),
    "batched fake": lambda: batched(FakeBackend(MANIFEST.embed_dim)),
    "onnx": lambda: InProcess(OnnxEngine(DEMO, EngineOptions())),
    "auto": lambda: InProcess(open_auto(DEMO, MANIFEST, EngineOptions(False, 1, 1), reference)),
    "batched onnx": lambda: batched(InProcess(OnnxEngine(DEMO, EngineOptions()), workers=2)),
    "openvino": lambda: InProcess(OpenVinoEngine(DEMO, threads=2)),
    "batched openvino": lambda: batched(InProcess(OpenVinoEngine(DEMO, threads=2, workers=2), workers=2)),
}


@pytest_asyncio.fixture(params=BACKENDS, scope="module", loop_scope="module")
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """One for all tests, which is not closed by any: an engine reads its graphs for most of a second."""
    made = BACKENDS[request.param]()
    await made.start()
    yield made
    await made.aclose()


def cosine(one: Embeddings, other: Embeddings) -> float:
    return float((one * other).sum(axis=1).min())


def reference() -> Mapping[str, Feeds]:
    return reference_feeds(MANIFEST, TOKENIZER)


async def texts(backend: Backend, length: int | None = None) -> Embeddings:
    rows = TOKENIZER.encode(TEXTS)
    return await backend.encode_text(*TOKENIZER.pad(rows, length or max(len(row.ids) for row in rows)))


async def test_vectors_have_shape_type_and_unit_length(backend: Backend) -> None:
    for vectors, count in ((await backend.encode_image(PIXELS), 2), (await texts(backend), 3)):
        assert vectors.shape == (count, MANIFEST.embed_dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("engine", [OnnxEngine(DEMO, EngineOptions()), OpenVinoEngine(DEMO, threads=2)])
async def test_an_engine_in_fp32_gives_the_vectors_of_the_original_framework(engine: Engine) -> None:
    engine.load()
    token_ids, lengths = TOKENIZER.pad(TOKENIZER.encode(REFERENCE_TEXTS), MANIFEST.text.context_length)
    images = engine.run(IMAGE_GRAPH, {"pixels": PIXELS})
    texts = engine.run(TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})
    assert check(MANIFEST, images, texts) > 0.99999


async def test_a_row_alone_equals_the_row_in_a_mixed_batch(backend: Backend) -> None:
    many = np.concatenate([PIXELS, PIXELS[::-1], PIXELS[:1]])  # [5, S, S, 3]
    together = await backend.encode_image(many)
    alone = np.concatenate([await backend.encode_image(many[i : i + 1]) for i in range(5)])
    assert cosine(together, alone) > 0.99999
    assert cosine(together[:1], together[1:2]) < 0.999, "rows are not told apart"


async def test_concurrent_calls_do_not_mix_rows(backend: Backend) -> None:
    expected = await backend.encode_image(PIXELS)
    order = [0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0]
    answers = await asyncio.gather(*(backend.encode_image(PIXELS[i : i + 1]) for i in order))
    for i, answer in zip(order, answers, strict=True):
        assert cosine(answer, expected[i : i + 1]) > 0.99999


async def test_padding_does_not_change_a_text(backend: Backend) -> None:
    own = await texts(backend)
    padded = await texts(backend, MANIFEST.text.context_length)
    assert cosine(own, padded) > 0.99999


async def test_a_cancelled_call_leaves_the_others_alone(backend: Backend) -> None:
    expected = await backend.encode_image(PIXELS)
    for _ in range(5):
        leaving = asyncio.create_task(backend.encode_image(PIXELS))
        staying = asyncio.create_task(backend.encode_image(PIXELS))
        await asyncio.sleep(0.002)
        leaving.cancel()
        assert cosine(await staying, expected) > 0.99999


@pytest.mark.parametrize("kind", ["fake", "batched fake", "onnx", "openvino"])
async def test_a_backend_is_ready_between_start_and_close_only(kind: str) -> None:
    backend = BACKENDS[kind]()
    await backend.start()
    assert await backend.ready()
    await backend.aclose()
    assert not await backend.ready()
    with pytest.raises(BackendUnavailable):
        await backend.encode_image(PIXELS)


async def test_a_batcher_has_the_facts_of_the_backend_behind_it() -> None:
    inner = FakeBackend(MANIFEST.embed_dim)
    inner.engine, inner.precision, inner.text_buckets = "another", "bf16", [16, 77]
    outer = batched(inner)
    assert (outer.engine, outer.precision, outer.text_buckets) == ("another", "bf16", [16, 77])


@pytest.mark.parametrize("kind", ["onnx", "batched onnx"])
async def test_what_the_engine_cannot_run_is_a_failure_not_an_end(kind: str) -> None:
    backend = BACKENDS[kind]()
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_image(np.zeros((1, 3, 3, 3), np.uint8))
    assert (await backend.encode_image(PIXELS)).shape == (2, MANIFEST.embed_dim)
    await backend.aclose()


async def test_what_onnxruntime_finds_wrong_is_raised_and_not_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    backend = BACKENDS["onnx"]()
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_text(np.full((1, 8), 10**8, np.int32), np.array([8], np.int32))
    await backend.aclose()
    assert capfd.readouterr().err == ""


async def test_a_missing_graph_refuses_to_start_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"image\.onnx"):
        await InProcess(OnnxEngine(tmp_path, EngineOptions())).start()

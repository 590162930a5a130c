"""How many shapes texts of all lengths have, by what the backend computes on."""

from __future__ import annotations

import pytest

from clipserve.application.encoder import TextEncoder
from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, InProcess
from clipserve.telemetry.metrics import Metrics
from tests.engine.test_in_process import Gpu
from tests.support.service import Recording

MANIFEST = read_manifest(DEMO)


async def encoder_on(buckets: tuple[int, ...]) -> tuple[TextEncoder, Recording]:
    backend = Recording(MANIFEST.embed_dim)
    backend.text_buckets = buckets
    await backend.start()
    tokenizer = load_tokenizer(DEMO, MANIFEST.text)
    return TextEncoder(MANIFEST, tokenizer, backend, Metrics()), backend


@pytest.mark.parametrize(
    ("buckets", "lengths"),
    [(GPU_TEXT_BUCKETS, {16, 32, 77}), (TEXT_BUCKETS, {8, 10, 12, 16, 24, 32, 48, 77})],
)
async def test_texts_have_the_lengths_that_the_backend_names(
    buckets: tuple[int, ...], lengths: set[int]
) -> None:
    encoder, backend = await encoder_on(buckets)
    await encoder.encode([" ".join(["cat"] * count) for count in range(1, 76)])
    assert {length for _, length in backend.texts} == lengths


async def test_encoders_in_this_process_name_the_lengths_of_what_they_compute_on() -> None:
    for engine, lengths in ((OnnxEngine(DEMO, EngineOptions()), TEXT_BUCKETS), (Gpu(""), GPU_TEXT_BUCKETS)):
        backend = InProcess(engine)
        await backend.start()
        assert backend.text_buckets == lengths
        await backend.aclose()

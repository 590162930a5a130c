"""How many shapes texts of all lengths have, by what the backend computes on."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clipserve.application.encoder import TextEncoder
from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.concurrency import SideThread
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, InProcess
from clipserve.telemetry.metrics import Metrics
from tests.engine.test_in_process import Gpu
from tests.support import Counting, Recording

MANIFEST = read_manifest(DEMO)


async def encoder_on(buckets: tuple[int, ...]) -> tuple[TextEncoder, Recording]:
    backend = Recording(MANIFEST.embed_dim)
    backend.text_buckets = buckets
    await backend.start()
    tokenizer = load_tokenizer(DEMO, MANIFEST.text)
    return TextEncoder(MANIFEST, tokenizer, backend, SideThread(Counting()), Metrics()), backend


def texts_of_eight_lengths() -> list[str]:
    """In random order: 3 to 77 tokens, and no two texts with the same number."""
    chance = random.Random(0)
    words = [
        *chance.sample(range(1, 15), 3),
        *chance.sample(range(15, 31), 2),
        *chance.sample(range(31, 76), 3),
    ]
    chance.shuffle(words)
    return [" ".join(["cat"] * count) for count in words]


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


async def test_eight_random_lengths_become_three_shapes_and_the_vectors_stay() -> None:
    texts = texts_of_eight_lengths()
    few, backend = await encoder_on(GPU_TEXT_BUCKETS)
    many, _ = await encoder_on(TEXT_BUCKETS)
    encoded, other = await few.encode(texts), await many.encode(texts)
    assert len({text.tokens for text in encoded}) == 8
    assert {length for _, length in backend.texts} == {16, 32, 77}
    assert len(backend.texts) == 3
    for one, two in zip(encoded, other, strict=True):
        assert np.array_equal(one.vector, two.vector), "it is that of its tokens, not of its padding"


async def test_encoders_in_this_process_name_the_lengths_of_what_they_compute_on() -> None:
    for engine, lengths in ((OnnxEngine(DEMO, EngineOptions()), TEXT_BUCKETS), (Gpu(""), GPU_TEXT_BUCKETS)):
        backend = InProcess(engine)
        await backend.start()
        assert backend.text_buckets == lengths
        await backend.aclose()

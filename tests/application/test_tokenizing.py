"""Texts are tokenized a few at a time: others have their turn, and who has left is not tokenized for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from clipserve.application.encoder import TextEncoder
from clipserve.clip.artifact import read_manifest
from clipserve.clip.tokenizer import TokenizedText, Tokenizer
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.conftest import Beside
from tests.support.service import DIM, TEXT, eventually, toy_tokenizer, write_toy_artifact


class Watched(Tokenizer):
    """Remembers the texts of each call, and waits in each one while it is held."""

    def __init__(self) -> None:
        super().__init__(TEXT, toy_tokenizer())
        self.calls: list[Sequence[str]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def encode(self, texts: Sequence[str], truncate: bool = False, first: int = 0) -> list[TokenizedText]:
        self.calls.append(texts)
        assert self.go_on.wait(60)
        return super().encode(texts, truncate, first)


async def watched(folder: Path) -> tuple[TextEncoder, Watched]:
    manifest, backend = read_manifest(await write_toy_artifact(folder)), FakeBackend(DIM)
    await backend.start()
    tokenizer = Watched()
    return TextEncoder(manifest, tokenizer, backend, Metrics()), tokenizer


@pytest.mark.parametrize(
    ("texts", "calls"),
    [
        (["a"] * 128, [64, 64]),
        (["a"] * 129, [64, 64, 1]),
        (["a" * 4_096] * 5, [2, 2, 1]),
        (["a" * 8_193, "a", "a" * 8_192], [1, 1, 1]),
        (["a" * 8_192, "a"] * 2, [1, 1, 1, 1]),
    ],
)
async def test_a_call_has_64_texts_or_8192_characters(
    beside: Beside, tmp_path: Path, texts: list[str], calls: list[int]
) -> None:
    encoder, tokenizer = await watched(tmp_path)
    encoded = await encoder.encode(texts, truncate=True)
    assert [len(call) for call in tokenizer.calls] == calls
    assert beside.jobs == len(calls)
    assert [text.tokens for text in encoded] == [len(text) + 2 for text in texts]


async def test_texts_of_a_request_that_is_cancelled_are_not_tokenized(tmp_path: Path) -> None:
    encoder, tokenizer = await watched(tmp_path)
    tokenizer.go_on.clear()
    task = asyncio.create_task(encoder.encode(["a"] * 6_400))
    await eventually(lambda: len(tokenizer.calls) == 1)
    task.cancel()
    tokenizer.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await encoder.encode(["b"] * 65)
    assert [len(call) for call in tokenizer.calls] == [64, 64, 1]


async def test_requests_take_turns(tmp_path: Path) -> None:
    encoder, tokenizer = await watched(tmp_path)
    await asyncio.gather(encoder.encode(["a"] * 256), encoder.encode(["b"] * 256))
    assert "".join(call[0] for call in tokenizer.calls) == "abababab"


@pytest.mark.parametrize(
    ("texts", "jobs"),
    [
        (["a" * 1_024] * 2, 0),
        (["a" * 1_025, "a" * 1_024], 1),
        (["é" * 256], 0),
        (["&" * 257], 1),
    ],
    ids=["2,048 letters", "2,049 letters", "256 that are dear", "257 that are dear"],
)
async def test_short_texts_are_tokenized_at_once_and_those_that_are_dear_to_clean_if_they_are_very_short(
    beside: Beside, tmp_path: Path, texts: list[str], jobs: int
) -> None:
    encoder, _ = await watched(tmp_path)
    await encoder.encode(texts, truncate=True)
    assert beside.jobs == jobs

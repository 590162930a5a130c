"""Accuracy is judged by the set that was put, also where its build takes longer than the answer to PUT waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loadtests.bodies import photo
from loadtests.fake_backend import FakeBackend
from loadtests.process import Server
from loadtests.zero_shot import by_names
from tests.support import DIM, serving, write_toy_artifact

BUILD_SECONDS = 2.5  # more than the two seconds that PUT waits


@pytest.mark.slow
async def test_photos_are_judged_by_the_set_that_was_put_last(tmp_path: Path) -> None:
    photos = []
    for number, label in enumerate(("cat", "dog", "car", "bus")):
        photos.append(tmp_path / f"n{number}_{label}.JPEG")
        photos[-1].write_bytes(photo(64, 64 + number))
    toy = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM, BUILD_SECONDS), toy) as running:
        server = Server(running.url)
        await asyncio.to_thread(by_names, server, photos[:2], {})
        judged = await asyncio.to_thread(by_names, server, photos[2:], {})
    assert {taken_for for _, taken_for in judged.wrong} <= {"car", "bus"}

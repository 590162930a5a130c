"""What a folder promises, and Redis too (tests/external/redis)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from clipserve.application.label_sets import build
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.machine import Gateways
from tests.support.service import write_toy_artifact


async def test_the_listing_stays_while_nothing_changes(another: OpenStore) -> None:
    await (store := another()).write("a.json", b"1")
    async with asyncio.timeout(60):
        while await store.listing() != await store.listing():  # for a moment after a change
            await asyncio.sleep(0.05)


async def test_what_there_is_not_has_no_value(another: OpenStore) -> None:
    store = another()
    assert dict(await store.listing()) == {}
    assert await store.read("a.json") is None
    assert not await store.delete(["a.json"])


async def test_a_reader_never_sees_half_of_a_value_of_tens_of_megabytes(another: OpenStore) -> None:
    writer, reader = another(), another()
    values = [bytes([number]) * 10_000_000 for number in range(5)]
    await writer.write("a.npy", values[0])

    async def write() -> None:
        for value in values[1:]:
            await writer.write("a.npy", value)

    async with asyncio.timeout(60):
        writing = asyncio.ensure_future(write())
        while not writing.done():
            assert await reader.read("a.npy") in values
        await writing
    assert await reader.read("a.npy") == values[-1]


def test_whatever_is_put_and_deleted_all_serve_the_last_of_it_and_nothing_else_is_kept(
    another: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What one gateway could not store the others would build after a minute.
    monkeypatch.setattr(build, "_OTHERS_SECONDS", 0.0)
    artifact = asyncio.run(write_toy_artifact(tmp_path / "toy"))
    few = settings(max_examples=10, stateful_step_count=12, phases=[Phase.generate])
    run_state_machine_as_test(lambda: Gateways(another, artifact), settings=few)  # type: ignore[arg-type]

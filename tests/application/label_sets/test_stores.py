"""What a folder promises, and Redis too (tests/external/redis), besides what `machine` sees of both."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.application.label_sets.conftest import OpenStore


async def test_the_listing_stays_while_nothing_changes(another: OpenStore) -> None:
    await (store := another()).write("a.json", b"1")
    async with asyncio.timeout(60):
        while await store.listing() != await store.listing():  # for a moment after a change
            await asyncio.sleep(0.05)


async def test_what_there_is_not_has_no_value(another: OpenStore) -> None:
    store = another()
    assert dict(await store.listing()) == {}
    with pytest.raises(ValueError, match=r"no value|No such file"):
        await store.read("a.json")
    assert not await store.delete(["a.json"])


async def test_a_value_may_have_tens_of_megabytes(another: OpenStore) -> None:
    one, other = another(), another()
    large = bytes(range(256)) * 40_000
    await one.write("a.npy", large)
    assert await other.read("a.npy") == large
    await other.write("a.npy", changed := large[:-1] + b"x")
    assert await one.read("a.npy") == changed


async def test_a_reader_never_sees_half_of_a_value(another: OpenStore) -> None:
    writer, reader = another(), another()
    await writer.write("a.json", b"0 ")
    read: set[bytes] = set()

    async def write() -> None:
        for number in itertools.count():
            if len(read) > 10:
                return
            await writer.write("a.json", b"%d " % number * 10_000)
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        writing = asyncio.ensure_future(write())
        while not writing.done():
            (number,) = {*(await reader.read("a.json")).split()}
            read.add(number)
            await asyncio.sleep(0)
        await writing

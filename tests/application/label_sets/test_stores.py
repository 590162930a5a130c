"""What a folder promises, and Redis too (tests/external/redis): changes are whole, and all see them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipserve.application.label_sets.store import Store
from tests.application.label_sets.conftest import OpenStore

NAMES = [
    "pets.json",
    "Pets.json",
    "pets.1a2b.npy",
    "a.b-c_d.json",
    "a" * 64 + "." + "f" * 32 + ".json",
    "0.json",
]
CHANGES = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.binary(max_size=40)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from(NAMES), max_size=3)),
)


async def values_of(store: Store) -> dict[str, bytes]:
    return {name: await store.read(name) for name in await store.listing()}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(CHANGES, max_size=12))
async def test_changes_by_two_are_those_of_a_dictionary_and_each_is_seen_in_the_listing(
    another: OpenStore, changes: list[Any]
) -> None:
    stores, expected = [another(), another()], dict[str, bytes]()
    await stores[0].delete(NAMES)
    for store, (kind, *arguments) in zip(itertools.cycle(stores), changes, strict=False):
        before = dict(await stores[1].listing())
        if kind == "write":
            name, value = arguments
            await store.write(name, value)
            expected[name] = value
            assert (await stores[1].listing())[name] != before.get(name)
        else:
            there = [expected.pop(name, None) for name in arguments[0]]
            assert await store.delete(arguments[0]) == any(value is not None for value in there)
        for each in stores:
            assert await values_of(each) == expected


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

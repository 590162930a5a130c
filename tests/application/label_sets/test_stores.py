"""What a folder promises, and Redis too (tests/external/redis)."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from hypothesis.stateful import run_state_machine_as_test

from clipserve.application.label_sets.store import Folder
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.machine import FEW, Gateways
from tests.application.label_sets.making import MOST


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
            (number,) = {*(await reader.read("a.json") or b"").split()}
            read.add(number)
            await asyncio.sleep(0)
        await writing


def lost(folder: Path, away: bool) -> None:
    """A file is in the place of the folder, or the folder is back."""
    aside = folder.with_suffix(".aside")
    if away:
        if folder.exists():
            folder.rename(aside)
        folder.touch()
    else:
        folder.unlink()
        if aside.exists():
            aside.rename(folder)


class OnAFolder(Gateways):
    opens = staticmethod(lambda folder: Folder(folder, MOST))
    fail = staticmethod(lost)


def test_whatever_is_put_and_deleted_all_serve_the_last_of_it_and_nothing_else_is_kept() -> None:
    run_state_machine_as_test(OnAFolder, settings=FEW)

"""Gateways that share a store: what is put at one is served by all, whole, and the former one until it is built."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from clipserve.application.label_sets import build
from clipserve.errors import StoreUnavailable
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import Counted, put_at, record_in
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, version_at
from tests.support.logs import Log
from tests.support.waiting import until

SMALL: dict[str, Any] = {"labels": ["cat", "dog", "cow"], "templates": ["a {}", "the {}"]}


async def test_a_set_that_was_put_elsewhere_is_built_after_a_minute_and_not_before(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, here, there = MemoryStore(), Counted(), Counted()
    first, second = await open_site(store, backend=here), await open_site(store, backend=there)
    here.gate.clear()
    await first.begin(**SMALL)
    await until(lambda: second.states == {"pets": "building"})
    await asyncio.sleep(2 * build._LOOK_SECONDS)
    assert there.asked == 0
    monkeypatch.setattr(build, "_OTHERS_SECONDS", 0.5)
    await put_at(store, time.time() + 1e6)  # another clock makes nobody wait for longer
    third = await open_site(store, backend=(later := Counted()))
    await until(lambda: third.ready("pets"), 30)  # the second one still waits for its minute
    await until(lambda: second.ready("pets"))
    assert (there.texts + later.texts, here.texts) == (6, 0)
    here.gate.set()


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_former_one_is_served_until_the_new_one_is_built_after_a_start_too(
    open_site: OpenSite, restarted: bool
) -> None:
    store, backend = MemoryStore(), Counted()
    site = await open_site(store, backend=backend)
    old = (await site.put(**SMALL)).version
    if not restarted:  # then it is in memory
        await store.delete([name for name in await store.listing() if name.endswith(".npy")])
    backend.gate.clear()
    await site.begin(labels=["unfinished"])
    new = await site.begin(labels=["cat"])
    assert (new.state, new.served_version) == ("building", old)
    if restarted:
        await site.sets.aclose()
        await put_at(store, 1.0)
        (backend := Counted()).gate.clear()
        site = await open_site(store, backend=backend)
    assert await version_at(site) == old
    backend.gate.set()
    await until(lambda: site.ready("pets"))
    assert await version_at(site) == new.version
    assert backend.texts == (1 if restarted else 7), "the unfinished one is not built any more"


async def test_a_set_that_is_deleted_elsewhere_before_it_was_listed_is_gone(open_site: OpenSite) -> None:
    first, second = await open_site(store := MemoryStore()), await open_site(store)
    await first.put()
    await second.sets.delete("pets")
    await first.sets.refresh()
    assert (first.states, await store.listing()) == ({}, {})


async def test_a_set_of_a_model_that_is_not_served_here_is_read_once_and_not_served(
    open_site: OpenSite,
) -> None:
    store = MemoryStore()
    site = await open_site(store)
    await site.put()
    record = await record_in(store)
    definition = record.definition.model_copy(update={"model": "other"})
    await store.write("theirs.json", record.model_copy(update={"definition": definition}).to_bytes())
    await until(lambda: "theirs.json" in store.reads)
    await site.put("more")
    assert [*site.states] == ["more", "pets"]
    assert store.reads.count("theirs.json") == 1
    assert (await site.put("theirs")).state == "ready"


class Odd(MemoryStore):
    """It is away as often as that when a value whose name ends so is read; or deletes values before that."""

    kind, times, vanishing = "", 0, False

    async def read(self, name: str) -> bytes | None:
        if self.times and name.endswith(self.kind):
            self.times -= 1
            raise StoreUnavailable("the store is away.")
        if self.vanishing:
            await self.delete([name])
        return await super().read(name)


@pytest.mark.parametrize("kind", [".json", ".npy"])
async def test_a_store_that_goes_away_while_a_set_is_loaded_is_asked_again(
    open_site: OpenSite, kind: str, written: Log
) -> None:
    version = (await (await open_site(store := Odd())).put()).version
    store.kind, store.times = kind, 2
    site = await open_site(store, backend=(backend := Counted()))
    with pytest.raises(StoreUnavailable, match="could not be read yet"):
        await classified(site, "pets")
    await until(lambda: site.ready("pets"))
    assert (store.times, site.sets.get("pets").served_version, backend.texts) == (0, version, 0)
    store.vanishing = True
    assert (await open_site(store)).states == {}
    assert "label_set_file_wrong" not in written.events, "deleted while it is loaded, it is no damaged one"


DAMAGED = {  # what is read in place of a value
    "nothing": lambda value: b"",
    "the half": lambda value: value[: len(value) // 2],
    "a byte less": lambda value: value[:-1],
    "zeros": lambda value: bytes(len(value)),
    "no set": lambda value: b'{"format":1}',
    "a later format": lambda value: value.replace(b'"format":1', b'"format":2'),
    "an impossible size": lambda value: value.replace(b'"size":', b'"size":1000000000000000000000000'),
    "trained weights, without templates": lambda value: value.replace(b'"{}"', b""),
    "an impossible shape": lambda value: value.replace(b"(2, ", b"(9999999999999, ", 1),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
async def test_a_damaged_value_holds_up_nothing_and_its_set_stays_as_it_was(
    open_site: OpenSite, damage: Any
) -> None:
    store = MemoryStore()
    site = await open_site(store)
    version = (await site.put(templates=["{}"])).version
    await site.put("good")
    for name in [*await store.listing()]:
        if name.startswith("pets."):
            value = await store.read(name)
            assert value is not None
            await store.write(name, damage(value))
    again = await open_site(store)
    await until(lambda: again.states.get("good") == "ready")
    made_anew = damage is DAMAGED["an impossible shape"]  # the others damage the record too
    assert again.states == {"good": "ready"} | ({"pets": "building"} if made_anew else {})
    assert await version_at(site) == version
    assert (await again.put(labels=["glad"])).state == "ready"
    await until(lambda: site.sets.get("pets").served_version == again.sets.get("pets").version)


async def test_a_record_with_fields_that_are_not_known_is_served_without_encoding_it(
    open_site: OpenSite,
) -> None:
    version = (await (await open_site(store := MemoryStore())).put()).version
    value = (await store.read("pets.json") or b"").replace(
        b'"example_weight"', b'"biases":[],"example_weight"'
    )
    await store.write("pets.json", value.replace(b'{"format":1,', b'{"format":1,"payer":null,'))
    again = await open_site(store, backend=(backend := Counted()))
    assert (await version_at(again), backend.texts) == (version, 0)

"""Gateways that share a store: what is put at one is served by all, whole, and the former one until it is built."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from clipserve.application.label_sets import build
from clipserve.errors import StoreUnavailable
from clipserve.telemetry.request import current
from tests.application.label_sets.conftest import OpenSite, OpenStore
from tests.application.label_sets.making import (
    Counted,
    Site,
    put_at,
    record_in,
    versions_in,
)
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, rows, version_at
from tests.logs import Log
from tests.support import png
from tests.waiting import until

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


async def test_two_that_build_the_same_store_the_same(open_site: OpenSite) -> None:
    values = []
    for _ in range(2):
        site = await open_site(store := MemoryStore())
        await site.put(labels=["cat", {"label": "dog", "examples": [png()]}], templates=["a {}", "the {}"])
        values.append([await store.read(name) for name in await store.listing() if name.endswith(".npy")])
    assert values[0] == values[1]
    assert len(values[0]) == 1


class Held(Counted):
    """Texts of builds wait while `builds` is closed, as it is at first; others do not."""

    def __init__(self) -> None:
        super().__init__()
        self.builds = asyncio.Event()

    async def encode_text(self, token_ids: Any, lengths: Any) -> Any:
        if current() is not None:
            await self.builds.wait()
        return await super().encode_text(token_ids, lengths)


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_former_one_is_served_until_the_new_one_is_built_after_a_start_too(
    open_site: OpenSite, restarted: bool
) -> None:
    store, backend = MemoryStore(), Held()
    site = await open_site(store, backend=backend)
    backend.builds.set()
    old = (await site.put(**SMALL)).version
    backend.builds.clear()
    await site.begin(labels=["unfinished"])
    new = await site.begin(labels=["cat"])
    assert (new.state, new.served_version) == ("building", old)
    if restarted:
        await site.sets.aclose()
        await put_at(store, 1.0)
        site = await open_site(store, backend=(backend := Held()))
    assert await version_at(site) == old
    backend.builds.set()
    await until(lambda: site.ready("pets"))
    assert await version_at(site) == new.version


async def test_a_set_is_put_again_and_again_while_it_is_used(open_site: OpenSite, another: OpenStore) -> None:
    here, there = await open_site(another()), await open_site(another())
    await here.put(labels=["0 a", "0 b"])
    began = time.monotonic()
    await until(lambda: there.ready("pets"))
    print(f"{time.monotonic() - began:.2f} s later the other one serves it")
    ended = asyncio.Event()

    async def use(site: Site) -> int:
        used = 0
        while not ended.is_set():
            labels = rows((await classified(site, "pets")).results[0])
            assert len({label.split()[0] for label, *_ in labels}) == 1, "of one version"
            used += 1
            await asyncio.sleep(0)
        return used

    using = asyncio.gather(use(here), use(there))
    for number in range(1, 12):
        site = (here, there)[number % 2]
        assert (await site.put(labels=[f"{number} a", f"{number} b"])).state == "ready"
    ended.set()
    assert min(await using) > 0


async def test_embeddings_that_a_build_stores_after_its_set_was_replaced_are_deleted_by_the_next_change(
    open_site: OpenSite,
) -> None:
    store, here = MemoryStore(), Counted()
    first, second = await open_site(store, backend=here), await open_site(store)
    here.gate.clear()
    await first.begin()
    await second.sets.delete("pets")
    here.gate.set()
    await until(lambda: first.states == {})
    version = (await second.put(labels=["new"])).version
    await second.sets.refresh()
    assert await versions_in(store) == {version}


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


async def test_embeddings_that_cannot_be_stored_are_served_and_made_again_at_the_next_start(
    open_site: OpenSite,
) -> None:
    store, here = MemoryStore(), Counted()
    site = await open_site(store, backend=here)
    here.gate.clear()
    await site.begin()
    store.full = True
    here.gate.set()
    await until(lambda: site.ready("pets"))
    assert await versions_in(store) == set()
    store.full = False
    await put_at(store, 1.0)
    again = await open_site(store, backend=(backend := Counted()))
    await until(lambda: again.ready("pets"))
    assert backend.texts == 2


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


async def test_a_set_of_8_000_prompts_is_put_built_and_loaded_without_encoding_it_again(
    open_site: OpenSite,
) -> None:
    large: dict[str, Any] = {
        "labels": [f"{n}" for n in range(800)],
        "templates": [f"{n} {{}}" for n in range(10)],
    }
    store, here = MemoryStore(), Counted()
    site = await open_site(store, backend=here)
    state = await site.put(**large)
    assert (state.state, state.prompts, here.texts) == ("ready", 8_000, 8_000)
    again = await open_site(store, backend=(backend := Counted()))
    assert (again.ready("pets"), backend.texts) == (True, 0)

"""Of gateways that share a store, one builds a set, and the others wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from clipserve.application.label_sets import builds
from clipserve.application.label_sets.records import Build
from tests.application.label_sets.conftest import OpenSite, Site
from tests.application.label_sets.making import Counted, not_waiting, rows_of
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import until
from tests.application.label_sets.test_paying import Rate

LABELS = [f"label {number}" for number in range(600)]  # three pieces


async def only_build(store: MemoryStore) -> tuple[str, Build]:
    ((name, row),) = (await rows_of(store, "builds")).items()
    build = Build.found(row)
    assert build
    return name, build


async def test_a_build_is_believed_while_a_piece_takes_long(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_RENEW_SECONDS", 0.05)
    site = await open_site(store := MemoryStore(), backend=(backend := Counted()))
    backend.gate.clear()
    putting = asyncio.create_task(site.put())
    await until(lambda: _is_encoding(backend))
    _, first = await only_build(store)

    async def is_renewed() -> bool:
        return (await only_build(store))[1].until > first.until + 1

    await until(is_renewed)
    backend.gate.set()
    assert (await putting).state == "ready"
    await asyncio.sleep(0.2)
    assert (await only_build(store))[1].finished, "it is not renewed any more"


async def test_a_build_stops_when_another_gateway_works_on_it(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_REPORT_SECONDS", -1.0)
    site = await open_site(store := MemoryStore(), backend=(backend := Counted()))
    backend.gate.clear()
    putting = asyncio.create_task(site.put(labels=LABELS))
    await until(lambda: _is_encoding(backend))
    name, mine = await only_build(store)
    other = Build(digest=mine.digest, total=600, owner="other", until=time.time() + 60)
    await store.put({("builds", name): other.to_bytes()})
    backend.gate.set()
    assert (await putting).state == "building"
    assert backend.texts == 256, "a piece"
    assert await only_build(store) == (name, other)


async def test_a_build_that_waits_for_its_rate_keeps_its_lease_and_lets_others_build(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_RENEW_SECONDS", 0.05)
    site, rate = await open_site(store := MemoryStore()), Rate(1)
    with monkeypatch.context() as patch:
        patch.setattr(site.sets._catalog._builds, "_charge", rate.charge)
        putting = asyncio.create_task(site.put())

        async def is_begun() -> bool:
            return rate.room == 0

        await until(is_begun)
    _, first = await only_build(store)
    assert (await site.put("other")).state == "ready"

    async def is_renewed() -> bool:
        rows = {name: Build.found(row) for name, row in (await rows_of(store, "builds")).items()}
        return any(row and not row.finished and row.until > first.until + 1 for row in rows.values())

    await until(is_renewed)
    rate.room = 10
    assert (await putting).name == "pets"
    await until(lambda: _is_ready(site))


async def test_a_build_is_taken_over_when_the_lease_of_another_gateway_has_ended(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_AGAIN_SECONDS", 0.05)
    here = await open_site(store := MemoryStore(), backend=(backend := Counted()))
    backend.gate.clear()
    with not_waiting():
        await here.put()
    await here.sets.aclose()
    name, build = await only_build(store)
    killed = build.model_copy(update={"owner": "killed", "until": time.time() + 1})
    await store.put({("builds", name): killed.to_bytes()})
    there = await open_site(store)
    assert there.sets.get("pets").state == "building"
    await until(lambda: _is_ready(there))


async def _is_ready(site: Site) -> bool:
    return site.sets.get("pets").state == "ready"


async def _is_encoding(backend: Counted) -> bool:
    return backend.asked > 0

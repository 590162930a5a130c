"""A store that goes away: what is loaded is served, and all is well when it is back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from clipserve.application.label_sets import catalog
from clipserve.application.label_sets.store import Failures, Kind
from clipserve.errors import StoreUnavailable
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import Counted, long_ago
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, version_at
from tests.waiting import until


async def test_sets_that_are_loaded_are_served_while_the_store_is_away(open_site: OpenSite) -> None:
    store = MemoryStore()
    site = await open_site(store)
    version = (await site.put()).version
    store.away = True
    assert (await classified(site, "pets")).label_sets[0].version == version
    assert site.sets.get("pets").state == "ready"
    with pytest.raises(StoreUnavailable):
        await site.put(labels=["cow"])
    with pytest.raises(StoreUnavailable):
        await site.sets.delete("pets")
    store.away = False
    assert (await site.put(labels=["cow"])).state == "ready"


class Full(MemoryStore):
    """Takes no embeddings."""

    failures = Failures(OSError, "Make room.")

    async def put(self, kind: Kind, name: str, head: bytes, body: bytes = b"") -> None:
        with self.failures.translated():
            if kind == "vectors":
                raise OSError("no room")
        await super().put(kind, name, head, body)


async def test_a_set_whose_embeddings_cannot_be_stored_is_served_and_made_again_by_the_next_start(
    open_site: OpenSite,
) -> None:
    store = Full()
    version = (await (await open_site(store)).put()).version
    await long_ago(store)
    site = await open_site(store, backend=(backend := Counted()))
    await until(lambda: site.ready("pets"))
    assert (site.sets.get("pets").version, backend.texts) == (version, 2)


def test_an_error_of_a_store_keeps_no_frames() -> None:
    with pytest.raises(StoreUnavailable) as raised, Full.failures.translated():
        raise OSError("no room")
    assert isinstance(raised.value.__context__, OSError)
    assert raised.value.__context__.__traceback__ is None


async def test_a_gateway_that_starts_without_its_store_loads_it_later(open_site: OpenSite) -> None:
    store = MemoryStore()
    await (await open_site(store)).put()
    store.away = True
    site = await open_site(store)
    with pytest.raises(StoreUnavailable, match="could not be read yet"):
        await classified(site, "pets")
    with pytest.raises(StoreUnavailable):
        site.sets.all()
    store.away = False
    await until(lambda: site.ready("pets"))


class GoesAway(MemoryStore):
    """It is away when rows of this kind are read, as often as that."""

    def __init__(self, kind: Kind, times: int = 1) -> None:
        super().__init__()
        self.kind, self.times = kind, times

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        if kind == self.kind and self.times:
            self.times -= 1
            raise StoreUnavailable("the store is away.")
        return await super().bodies(kind, names)


@pytest.mark.parametrize("kind", ["sets", "vectors"])
async def test_a_store_that_goes_away_while_a_set_is_loaded_is_asked_again(
    open_site: OpenSite, kind: Kind
) -> None:
    store = GoesAway(kind, times=0)
    version = (await (await open_site(store)).put()).version
    store.times = 2
    site = await open_site(store, backend=(backend := Counted()))
    await until(lambda: site.ready("pets"))
    assert (store.times, site.sets.get("pets").served_version) == (0, version)
    assert backend.texts == 0


class Keeps(MemoryStore):
    """It does not let go of embeddings while `refused` is below `refusals`."""

    refused, refusals = 0, 0

    async def delete(self, kind: Kind, names: Collection[str]) -> bool:
        if kind == "vectors" and self.refused < self.refusals:
            self.refused += 1
            raise StoreUnavailable("the store is away.")
        return await super().delete(kind, names)


async def test_embeddings_of_a_deleted_set_go_once_the_store_lets_go_of_them(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_SWEEP_AGAIN_SECONDS", 0.1)
    site = await open_site(store := Keeps())
    await site.put()
    assert await store.heads("vectors")
    store.refusals = 2
    await site.sets.delete("pets")

    async def gone() -> bool:
        return not await store.heads("vectors")

    await until(gone)
    assert store.refused == 2


async def test_sets_of_files_need_no_store(open_site: OpenSite, tmp_path: Path) -> None:
    store = MemoryStore()
    store.away = True
    files = tmp_path / "files"
    files.mkdir()
    (files / "pets.toml").write_text('labels = ["cat", "dog"]')
    site = await open_site(store, files=files)
    await until(lambda: version_at(site))


async def test_files_are_followed_while_the_store_is_away(open_site: OpenSite, tmp_path: Path) -> None:
    store = MemoryStore()
    (files := tmp_path / "files").mkdir()
    (files / "pets.toml").write_text('labels = ["cat", "dog"]')
    site = await open_site(store, files=files)
    await site.put("kept")
    await until(lambda: site.ready("kept", "pets"))
    store.away = True
    (files / "moods.toml").write_text('labels = ["glad", "sad"]')
    await until(lambda: site.ready("kept", "moods", "pets"))
    (files / "pets.toml").unlink()
    await until(lambda: site.ready("kept", "moods"))
    store.away = False
    (files / "moods.toml").unlink()
    await until(lambda: site.ready("kept"))

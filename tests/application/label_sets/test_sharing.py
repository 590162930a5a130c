"""Gateways that share a store build what they do not find there, know of no other gateway, and serve the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

import pytest

from clipserve.api.label_sets import LabelFields
from clipserve.application.label_sets.definition import Contents, Definition, digest_of
from clipserve.application.label_sets.shelf import Pointer, Shelf
from clipserve.application.label_sets.store import Kind
from clipserve.telemetry.request import current
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import Counted, long_ago, not_waiting, rows_of
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, rows, version_at
from tests.waiting import until

SMALL: dict[str, Any] = {"labels": ["cat", "dog", "cow"], "templates": ["a {}", "the {}"]}
LARGE: dict[str, Any] = {"labels": [f"{n}" for n in range(1_000)], "templates": ["a {}", "b {}", "c {}"]}


class Stopping(Counted):
    """Stops once, after so many texts, until its gate is opened."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after, self.stopped = after, False

    async def encode_text(self, token_ids: Any, lengths: Any) -> Any:
        if self.texts >= self._after and not self.stopped:
            self.stopped = True
            self.gate.clear()
        return await super().encode_text(token_ids, lengths)


async def test_a_label_set_that_was_put_elsewhere_just_now_is_waited_for(open_site: OpenSite) -> None:
    store, here, there = MemoryStore(), Counted(), Counted()
    first, second = await open_site(store, backend=here), await open_site(store, backend=there)
    here.gate.clear()
    began = time.monotonic()
    with not_waiting(first.sets):
        version = (await first.put(**SMALL)).version
    await until(lambda: second.states == {"pets": "building"})
    here.gate.set()
    await until(lambda: first.ready("pets") and second.ready("pets"))
    waited = time.monotonic() - began
    assert there.texts == 0 or waited > 5, "it waits for five seconds, which a busy machine may take"
    assert await version_at(second) == version


async def test_a_build_that_was_cut_off_goes_on_where_it_was(open_site: OpenSite) -> None:
    store = MemoryStore()
    first = await open_site(store, backend=(stopping := Stopping(after=1_500)))
    with not_waiting(first.sets):
        await first.put(**LARGE)
    await until(lambda: stopping.stopped)
    await first.sets.aclose()
    done = first.sets.get("pets").prompts_done
    assert 1_000 < done < 2_000
    await long_ago(store)
    again = await open_site(store, backend=(backend := Counted()))
    await until(lambda: again.ready("pets"))
    assert backend.texts == 3_000 - done


async def test_two_that_build_the_same_at_once_serve_and_store_the_same(open_site: OpenSite) -> None:
    store, here, there = MemoryStore(), Counted(), Counted()
    first, second = await open_site(store, backend=here), await open_site(store, backend=there)
    for backend in (here, there):
        backend.gate.clear()
    await put_long_ago(open_site, store, **SMALL)
    await until(lambda: bool(here.asked and there.asked))
    for backend in (here, there):
        backend.gate.set()
    await until(lambda: first.ready("pets") and second.ready("pets"))
    assert here.texts == there.texts == 6, "both have built it"
    answers = [await classified(site, "pets") for site in (first, second)]
    assert rows(answers[0].results[0]) == rows(answers[1].results[0])
    again = await open_site(store, backend=(backend := Counted()))
    assert (again.sets.get("pets").state, backend.texts) == ("ready", 0)


async def put_long_ago(open_site: OpenSite, store: MemoryStore, **fields: Any) -> None:
    """Put `pets` as a gateway did that is gone, and left nothing of its build."""
    elsewhere, backend = MemoryStore(), Counted()
    site = await open_site(elsewhere, backend=backend)
    backend.gate.clear()
    with not_waiting(site.sets):
        await site.put(**fields)
    await long_ago(elsewhere)
    await store.put("sets", "pets", *(await rows_of(elsewhere, "sets"))["pets"])


async def test_two_that_build_a_large_one_share_its_parts(open_site: OpenSite) -> None:
    store, here, there = MemoryStore(), Stopping(after=900), Stopping(after=900)
    first, second = await open_site(store, backend=here), await open_site(store, backend=there)
    await put_long_ago(open_site, store, **LARGE)
    for backend in (here, there):
        await until(lambda backend=backend: backend.stopped)  # type: ignore[misc]
    here.gate.set()
    await until(lambda: first.ready("pets"))
    there.gate.set()
    await until(lambda: second.ready("pets"))
    assert min(here.texts, there.texts) > 900
    assert here.texts + there.texts < 3_000 + 6 * 256, "but for parts that both had begun"
    answers = [await classified(site, "pets") for site in (first, second)]
    assert rows(answers[0].results[0]) == rows(answers[1].results[0])


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
    with not_waiting(site.sets):
        await site.put(labels=["unfinished"])
        new = await site.put(labels=["cat"])
    assert (new.state, new.served_version) == ("building", old)
    if restarted:
        await site.sets.aclose()
        await long_ago(store)
        site = await open_site(store, backend=(backend := Held()))
    assert await version_at(site) == old
    backend.builds.set()
    await until(lambda: site.ready("pets"))
    assert await version_at(site) == new.version


class Reading(MemoryStore):
    """Notes the names of the sets whose bodies are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        self.read += names if kind == "sets" else ()
        return await super().bodies(kind, names)


async def test_a_set_of_a_model_that_is_not_served_here_is_read_once_and_not_served(
    open_site: OpenSite,
) -> None:
    definition = Definition(model="other", labels=[LabelFields(label="cat")], templates=["{}"])
    contents = Contents(definition, digest_of(definition.to_bytes()), {}, 0)
    shelf = Shelf(store := Reading())
    await shelf.keep("theirs", Pointer(digest=contents.digest), contents)
    site = await open_site(store)
    await site.put()
    assert [state.name for state in site.sets.all()] == ["pets"]
    assert store.read.count("theirs") == 1
    for _ in range(2):
        assert (await site.put("theirs")).state == "ready"
        await shelf.keep("theirs", Pointer(digest=contents.digest), contents)
        await until(lambda: [*site.states] == ["pets"])

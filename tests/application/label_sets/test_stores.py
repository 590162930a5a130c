"""What a folder promises, and Redis too (tests/external/redis)."""

from __future__ import annotations

import asyncio

from tests.application.label_sets.conftest import OpenSite, OpenStore
from tests.application.label_sets.making import Counted, Site, built, record_in
from tests.support import png


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


async def served_labels(sites: list[Site]) -> list[str]:
    """The first label that each gateway serves, once it has seen and built what is in the store."""
    labels = []
    for site in sites:
        await site.sets.refresh()
        await built(site.sets)
        (served,) = await site.sets.find(["pets"])
        assert served.version == site.sets.get("pets").version
        labels.append(served.definition.labels[0].label)
    return labels


async def test_what_is_put_at_any_gateway_is_served_by_all_and_nothing_else_is_kept(
    open_site: OpenSite, another: OpenStore
) -> None:
    """Two gateways of one fingerprint, and one of another, as while colors are switched."""
    store = another()
    sites = [await open_site(another(), *choices) for choices in ((), (), ("other pixels",))]
    for number, at in enumerate((0, 1, 2, 0, 1)):
        state = await sites[at].put(labels=[f"{number}", {"label": "b", "examples": [png(number)]}])
        assert (state.state, state.served_version) == ("ready", state.version)
        assert await served_labels(sites) == [f"{number}"] * 3
    assert len({site.sets.get("pets").version for site in sites}) == 2
    assert len((await record_in(store)).images) == 1
    embeddings = [name.split(".") for name in await store.listing() if name.endswith(".npy")]
    assert len({digest for _, digest, *_ in embeddings}) == 2, "the present one and the former one"
    assert len(embeddings) == 4
    again = await open_site(another(), backend=(backend := Counted()))
    assert (again.states, backend.texts, backend.images) == ({"pets": "ready"}, 0, 0)
    await sites[0].sets.delete("pets")
    for site in sites:
        await site.sets.refresh()
        assert site.states == {}
    assert not await store.listing()


async def test_of_two_puts_at_once_all_serve_the_same(open_site: OpenSite, another: OpenStore) -> None:
    store, sites = another(), [await open_site(another()) for _ in range(2)]
    for number in range(5):
        await asyncio.gather(*(site.put(labels=[f"{number} {at}"]) for at, site in enumerate(sites)))
        won = (await record_in(store)).definition.labels[0].label
        assert await served_labels(sites) == [won, won]

"""Gateways on one store against a dictionary: what is put is what all serve, and nothing else is kept."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clipserve.application.label_sets.store import Folder
from clipserve.errors import StoreUnavailable, UnknownLabelSet
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.making import Counted, Site, built, opened, put_of, record_in
from tests.support.service import png

# Two of one fingerprint, and one of another, as while colors are switched.
CHOICES = ((), (), ("other pixels",))
AT, NAME, NUMBER = st.integers(0, 2), st.sampled_from(["pets", "pets-2"]), st.integers(0, 3)


def definition(number: int) -> dict[str, Any]:
    """Odd ones have an example."""
    return {"labels": [f"{number}", {"label": "b", "examples": [png(number)] * (number % 2)}]}


def served(site: Site, name: str) -> int | None:
    """The number of the definition that it serves."""
    entry = site.sets.entries.get(name)
    return int(entry.served.definition.labels[0].label) if entry and entry.served else None


async def follow(site: Site) -> None:
    """Until it has seen what is in the store, if that is there, and has built it."""
    with suppress(StoreUnavailable):
        await site.sets.refresh()
    for name in site.states:
        await built(site.sets, name)


@contextmanager
def failing_disk(call: int) -> Iterator[None]:
    """A disk that fails from its call of this number on, the first being 1."""
    calls = 0

    def failing(real: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= call:
                raise OSError(errno.EIO, "a fault")
            return real(*args, **kwargs)

        return called

    with pytest.MonkeyPatch.context() as patched:
        for name in ("scandir", "mkdir", "fsync", "replace", "unlink"):
            patched.setattr(os, name, failing(getattr(os, name)))
        yield


class Gateways(RuleBasedStateMachine):
    """On the store that `another` opens, each with the model of `artifact`.

    Attributes:
        expected: the sets that there are, each with the number of its definition.
        unsure: of these a change failed, or two were made at once: embeddings may be missing or too many.
    """

    def __init__(self, another: OpenStore, artifact: Path) -> None:
        super().__init__()
        self.another, self.artifact = another, artifact
        self.runner, self.store = asyncio.Runner(), another()
        self.expected, self.unsure = dict[str, int](), set[str]()
        self.run(self.store.delete([*self.run(self.store.listing())]))  # what another example has left
        self.sites = [self.run(self.open_site(at)) for at in range(len(CHOICES))]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(work, 120))

    async def open_site(self, at: int) -> Site:
        return await opened(self.artifact, self.another(), *CHOICES[at])

    @rule(at=AT, name=NAME, number=NUMBER)
    def put(self, at: int, name: str, number: int) -> None:
        """Each gateway serves the former one, and from a moment on the new one."""

        async def seen() -> list[list[int | None]]:
            seen = [[served(site, name)] for site in self.sites]
            putting = asyncio.ensure_future(self.sites[at].put(name, **definition(number)))
            while not putting.done():
                await asyncio.sleep(0.001)
                for site, numbers in zip(self.sites, seen, strict=True):
                    numbers += {served(site, name)} - {numbers[-1]}
            assert (await putting).built
            return seen

        former = self.expected.get(name)
        for numbers in self.run(seen()):
            assert numbers in ([former], [former, number])
        if former != number:
            self.unsure.discard(name)
        self.expected[name] = number

    @rule(name=NAME, numbers=st.tuples(NUMBER, NUMBER))
    def put_at_two(self, name: str, numbers: tuple[int, int]) -> None:
        async def winner() -> int:
            puts = zip(self.sites, numbers, strict=False)
            await asyncio.gather(*(site.put(name, **definition(number)) for site, number in puts))
            return int((await record_in(self.store, name)).definition.labels[0].label)

        self.expected[name] = self.run(winner())
        assert self.expected[name] in numbers
        self.unsure.add(name)

    @rule(at=AT, name=NAME)
    def delete(self, at: int, name: str) -> None:
        with suppress(UnknownLabelSet):
            self.run(self.sites[at].sets.delete(name))
            assert name in self.expected
        self.expected.pop(name, None)
        self.unsure.discard(name)

    @rule(at=AT)
    def restart(self, at: int) -> None:
        """It encodes nothing: what it served before is stored."""
        self.run(self.sites[at].sets.aclose())
        self.sites[at] = self.run(self.open_site(at))
        self.run(follow(self.sites[at]))
        assert isinstance(backend := self.sites[at].backend, Counted)
        assert self.unsure or (backend.texts, backend.images) == (0, 0)

    @precondition(lambda self: isinstance(self.store, Folder))
    @rule(at=AT, name=NAME, number=st.none() | NUMBER, call=st.integers(1, 10), killed=st.booleans())
    def change_while_the_disk_fails(
        self, at: int, name: str, number: int | None, call: int, killed: bool
    ) -> None:
        """None: delete it. All go on to serve the former one or the new one. Killed, a process changes no more."""
        sets, former = self.sites[at].sets, self.expected.pop(name, None)
        with failing_disk(call):
            with suppress(StoreUnavailable, UnknownLabelSet):
                work = sets.delete(name) if number is None else sets.put(put_of(name, **definition(number)))
                assert (put := self.run(work)) is None or put.built
            for site in self.sites:
                self.run(follow(site))
                assert served(site, name) in (former, number)
            if killed:
                self.run(sets.aclose())
        if killed:
            self.sites[at] = self.run(self.open_site(at))
        self.run(follow(self.sites[at]))
        left = served(self.sites[at], name)
        assert left in (former, number)
        if left is not None:
            self.expected[name] = left
        self.unsure.add(name)

    @invariant()
    def all_serve_what_was_put_last(self) -> None:
        for site in self.sites:
            self.run(follow(site))
            assert {name: served(site, name) for name in site.states} == self.expected
        versions = [{each.name: each.served_version for each in site.sets.all()} for site in self.sites]
        assert versions[0] == versions[1]
        assert not {*versions[0].items()} & {*versions[2].items()}

    @invariant()
    def nothing_is_kept_but_definitions_and_their_embeddings(self) -> None:
        files = [file.split(".") for file in self.run(self.store.listing())]
        assert {name for name, *_, kind in files if kind == "json"} == self.expected.keys()
        assert {name for name, *_ in files} <= self.expected.keys() | self.unsure
        for name in self.expected.keys() - self.unsure:
            kept = {file[1] for file in files if file[0] == name and file[-1] == "npy"}
            record = self.run(record_in(self.store, name))
            assert record.definition.digest in kept
            assert len(kept) <= 2, "the present one and the former one"
            assert len(record.images) == self.expected[name] % 2

    def teardown(self) -> None:
        for site in self.sites:
            self.run(site.sets.aclose())
        self.run(self.store.aclose())
        self.runner.close()

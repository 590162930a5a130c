"""Three gateways on one store against a dictionary: what is put is what all serve, and nothing else is kept."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clipserve.application.label_sets.definition import Record
from clipserve.application.label_sets.store import Store
from clipserve.errors import StoreUnavailable, UnknownLabelSet
from tests.application.label_sets.making import Site, built, opened, record_in
from tests.support import png, write_toy_artifact

T = TypeVar("T")
FEW = settings(max_examples=20, stateful_step_count=15, deadline=None, phases=[Phase.generate])
CHOICES = ("", "", "other pixels")  # two gateways of one fingerprint, and one of another
AT = st.integers(0, len(CHOICES) - 1)
NAME, NUMBER = st.sampled_from(["pets", "pets-2"]), st.integers(0, 3)


def definition(number: int) -> dict[str, Any]:
    """Odd ones have an example."""
    examples = [png(number)] if number % 2 else []
    return {"labels": [f"{number} a", {"label": f"{number} b", "examples": examples}]}


async def served_by(site: Site) -> dict[str, str]:
    """The first label of each set, once the gateway has seen what is in the store and has built it."""
    with suppress(StoreUnavailable):
        await site.sets.refresh()
    for name in site.states:
        await built(site.sets, name)
    return {
        each.name: each.served.definition.labels[0].label
        for each in site.sets.all()
        if each.built and each.served
    }


class Gateways(RuleBasedStateMachine):
    """`opens`: the store in this folder; each call opens it again. `fail`: it goes away (True), or comes back."""

    opens: Callable[[Path], Store]
    fail: Callable[[Path, bool], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.temporary, self.away = asyncio.Runner(), tempfile.TemporaryDirectory(), False
        self.expected: dict[str, int] = {}
        self.raced: set[str] = (
            set()
        )  # put at two gateways at once: the loser may leave embeddings until a change
        self.folder = Path(self.temporary.name)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 120))

    @initialize()
    def start(self) -> None:
        self.artifact = self.run(write_toy_artifact(self.folder / "toy"))
        self.store = type(self).opens(self.folder / "label-sets")
        self.run(self.emptied())  # of what another example has left in Redis
        self.sites = [self.run(self.site(choice)) for choice in CHOICES]

    async def emptied(self) -> None:
        await self.store.delete([*await self.store.listing()])

    async def site(self, choice: str) -> Site:
        return await opened(self.artifact, type(self).opens(self.folder / "label-sets"), choice)

    @rule(at=AT, name=NAME, number=NUMBER)
    def put(self, at: int, name: str, number: int) -> None:
        if self.away:
            self.refused(self.sites[at].put(name, **definition(number)))
            return
        state = self.run(self.sites[at].put(name, **definition(number)))
        assert (state.state, state.served_version) == ("ready", state.version)
        if self.expected.get(name) != number:
            self.raced.discard(name)
        self.expected[name] = number

    @precondition(lambda self: not self.away)
    @rule(name=NAME, numbers=st.tuples(NUMBER, NUMBER))
    def put_at_two(self, name: str, numbers: tuple[int, int]) -> None:
        async def both() -> Record:
            sites = zip(self.sites, numbers, strict=False)
            await asyncio.gather(*(site.put(name, **definition(number)) for site, number in sites))
            return await record_in(self.store, name)

        won = self.run(both())
        self.expected[name] = int(won.definition.labels[0].label.split()[0])
        assert self.expected[name] in numbers
        self.raced.add(name)

    @rule(at=AT, name=NAME)
    def delete(self, at: int, name: str) -> None:
        deleting = self.sites[at].sets.delete(name)
        if self.away:
            self.refused(deleting)
            return
        try:
            self.run(deleting)
            assert self.expected.pop(name, None) is not None
        except UnknownLabelSet:
            assert name not in self.expected
        self.raced.discard(name)

    def refused(self, change: Coroutine[Any, Any, Any]) -> None:
        try:
            self.run(change)
        except StoreUnavailable:
            return
        raise AssertionError("a change without a store")

    @precondition(lambda self: not self.away)
    @rule(at=AT)
    def restart(self, at: int) -> None:
        """It encodes nothing: what it served before is stored."""
        self.run(self.sites[at].sets.aclose())
        self.sites[at] = self.run(self.site(CHOICES[at]))
        assert {each.state for each in self.sites[at].sets.all()} <= {"ready"}
        assert (self.sites[at].backend.texts, self.sites[at].backend.images) == (0, 0)  # type: ignore[attr-defined]

    @precondition(lambda self: type(self).fail)
    @rule()
    def lose_or_find_the_store(self) -> None:
        self.away = not self.away
        type(self).fail(self.folder / "label-sets", self.away)  # type: ignore[misc]

    @invariant()
    def all_serve_what_was_put_last(self) -> None:
        if not hasattr(self, "sites"):
            return
        for site in self.sites:
            served = self.run(served_by(site))
            assert served == {name: f"{number} a" for name, number in self.expected.items()}
        versions = [{each.name: each.version for each in site.sets.all()} for site in self.sites]
        assert versions[0] == versions[1]
        assert not {*versions[0].items()} & {*versions[2].items()}

    @invariant()
    def nothing_is_kept_but_definitions_and_their_embeddings(self) -> None:
        if hasattr(self, "sites") and not self.away:
            self.run(self.check_store())

    async def check_store(self) -> None:
        files = {*await self.store.listing()}
        assert {file for file in files if file.endswith(".json")} == {
            f"{name}.json" for name in self.expected
        }
        for name, number in self.expected.items():
            record = await record_in(self.store, name)
            assert len(record.images) == number % 2
            stored = {
                file.split(".")[-3] for file in files if file.startswith(f"{name}.") and file.endswith("npy")
            }
            assert record.definition.digest in stored
            assert name in self.raced or len(stored) <= 2, "the present one and the former one"

    def teardown(self) -> None:
        for site in getattr(self, "sites", ()):
            self.run(site.sets.aclose())
        if hasattr(self, "store"):
            self.run(self.store.aclose())
        self.runner.close()
        self.temporary.cleanup()

"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from clipserve.application.label_sets.store import Key, Kind, revision_step
from clipserve.errors import StoreUnavailable


class MemoryStore:
    """A `Store` that fails while it is `away`. No method waits, so that each is one step.

    `changes`: what somebody else does as soon as rows of a kind were read, once for each time.
    """

    def __init__(self) -> None:
        self.away = False
        self.changes: dict[Kind, list[Callable[[], Awaitable[None]]]] = {}
        self._rows: dict[Key, bytes] = {}
        self._revision = 0

    async def revision(self) -> int:
        self._check()
        return self._revision

    async def names(self, kind: Kind) -> list[str]:
        self._check()
        found = [name for of, name in self._rows if of == kind]
        await self._change(kind)
        return found

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        self._check()
        found = {name: self._rows[kind, name] for name in names if (kind, name) in self._rows}
        await self._change(kind)
        return found

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        self._check()
        self._rows.update(rows)
        self._revision += revision_step()

    async def delete(self, keys: Collection[Key], revision: int) -> bool:
        self._check()
        if revision != self._revision:
            return False
        for key in keys:
            self._rows.pop(key, None)
        self._revision += revision_step()
        return True

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away.")

    async def _change(self, read: Kind) -> None:
        if self.changes.get(read):
            await self.changes[read].pop()()

"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from clipserve.application.label_sets.store import Key, Kind, revision_step
from clipserve.errors import StoreUnavailable


class MemoryStore:
    """A `Store` that fails while it is `away`. No method waits, so that each is one step."""

    def __init__(self) -> None:
        self.away = False
        self._rows: dict[Key, bytes] = {}
        self._revision = 0

    async def revision(self) -> int:
        self._check()
        return self._revision

    async def names(self, kind: Kind) -> list[str]:
        self._check()
        return [name for of, name in self._rows if of == kind]

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        self._check()
        return {name: self._rows[kind, name] for name in names if (kind, name) in self._rows}

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        self._check()
        self._rows.update(rows)
        self._revision += revision_step()

    async def delete(self, keys: Collection[Key]) -> bool:
        self._check()
        deleted = [self._rows.pop(key, None) for key in keys]
        self._revision += revision_step()
        return any(row is not None for row in deleted)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away.")

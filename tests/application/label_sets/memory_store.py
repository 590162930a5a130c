"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from clipserve.application.label_sets.store import Key, Kind, revision_step


class MemoryStore:
    """A `Store` that never fails. No method waits, so that each is one step."""

    def __init__(self) -> None:
        self._rows: dict[Key, bytes] = {}
        self._revision = 0

    async def revision(self) -> int:
        return self._revision

    async def names(self, kind: Kind) -> list[str]:
        return [name for of, name in self._rows if of == kind]

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        return {name: self._rows[kind, name] for name in names if (kind, name) in self._rows}

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        self._rows.update(rows)
        self._revision += revision_step()

    async def delete(self, keys: Collection[Key], revision: int) -> bool:
        if revision != self._revision:
            return False
        for key in keys:
            self._rows.pop(key, None)
        self._revision += revision_step()
        return True

    async def aclose(self) -> None:
        """Nothing to give back."""

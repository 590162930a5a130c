"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from clipserve.application.label_sets.store import NOTHING, Key, Kind, revision_step


class MemoryStore:
    """A `Store` that never fails. No method waits, so that each is one step."""

    def __init__(self) -> None:
        self._rows: dict[Key, bytes] = {}
        self._revision = 0

    async def revision(self) -> int:
        return self._revision

    async def names(self, kind: Kind) -> list[str]:
        return [name for of, name in self._rows if of == kind]

    async def rows(self, kind: Kind) -> dict[str, bytes]:
        return {name: value for (of, name), value in self._rows.items() if of == kind}

    async def get(self, key: Key) -> bytes | None:
        return self._rows.get(key)

    async def change(
        self,
        puts: Mapping[Key, bytes],
        deletes: Collection[Key] = (),
        *,
        expected: Mapping[Key, bytes | None] = NOTHING,
    ) -> bool:
        if any(self._rows.get(key) != value for key, value in expected.items()):
            return False
        for key in deletes:
            self._rows.pop(key, None)
        self._rows.update(puts)
        self._revision += revision_step()
        return True

    async def aclose(self) -> None:
        """Nothing to give back."""

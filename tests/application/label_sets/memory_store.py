"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

from collections.abc import Collection

from clipserve.application.label_sets.store import Kind
from clipserve.errors import StoreUnavailable


class MemoryStore:
    """A `Store` that fails while it is `away`. No method waits, so that each is one step."""

    def __init__(self) -> None:
        self.away = False
        self._rows: dict[tuple[Kind, str], tuple[bytes, bytes]] = {}
        self._changes = 0

    async def revision(self) -> str:
        self._check()
        return str(self._changes)

    async def heads(self, kind: Kind) -> dict[str, bytes]:
        self._check()
        return {name: head for (of, name), (head, _) in self._rows.items() if of == kind}

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        self._check()
        return {name: self._rows[kind, name][1] for name in names if (kind, name) in self._rows}

    async def put(self, kind: Kind, name: str, head: bytes, body: bytes = b"") -> None:
        self._check()
        self._rows[kind, name] = head, body
        self._changes += kind == "sets"

    async def delete(self, kind: Kind, names: Collection[str]) -> bool:
        self._check()
        deleted = [self._rows.pop((kind, name), None) for name in names]
        self._changes += kind == "sets"
        return any(row is not None for row in deleted)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away.")

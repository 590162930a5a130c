"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from clipserve.application.label_sets.store import Store
from clipserve.errors import StoreUnavailable


class MemoryStore(Store):
    """A store that fails while it is `away`, and refuses writes while it is `full`."""

    def __init__(self) -> None:
        super().__init__(OSError, "")
        self.away = self.full = False
        self.reads: list[str] = []
        self._values: dict[str, tuple[bytes, str]] = {}
        self._changes = 0

    async def listing(self) -> Mapping[str, str]:
        self._check()
        return {name: mark for name, (_, mark) in self._values.items()}

    async def read(self, name: str) -> bytes | None:
        self._check()
        self.reads.append(name)
        return self._values[name][0] if name in self._values else None

    async def write(self, name: str, value: bytes) -> None:
        self._check(changes=True)
        self._changes += 1
        self._values[name] = value, f"{time.time_ns()} {self._changes}"

    async def delete(self, names: Collection[str]) -> bool:
        self._check()
        deleted = [self._values.pop(name, None) for name in names]
        return any(value is not None for value in deleted)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _check(self, *, changes: bool = False) -> None:
        if self.away or (changes and self.full):
            raise StoreUnavailable("the store is away.")

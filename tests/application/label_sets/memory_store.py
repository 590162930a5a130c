"""Label sets kept in this process alone, and gone with it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from clipserve.application.label_sets.store import Store


class MemoryStore(Store):
    def __init__(self) -> None:
        super().__init__(OSError, "")
        self.reads: list[str] = []
        self._values: dict[str, tuple[bytes, str]] = {}

    async def listing(self) -> Mapping[str, str]:
        return {name: mark for name, (_, mark) in self._values.items()}

    async def read(self, name: str) -> bytes | None:
        self.reads.append(name)
        return self._values[name][0] if name in self._values else None

    async def write(self, name: str, value: bytes) -> None:
        self._values[name] = value, f"{time.time_ns()} {id(value)}"

    async def delete(self, names: Collection[str]) -> bool:
        deleted = [self._values.pop(name, None) for name in names]
        return any(value is not None for value in deleted)

"""Gateways that share a store: several `LabelSets` in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from clipserve.application.label_sets.store import Folder, Store
from tests.application.label_sets.making import Site, opened
from tests.application.label_sets.memory_store import MemoryStore
from tests.support.service import write_toy_artifact

OpenSite = Callable[..., Awaitable[Site]]
OpenStore = Callable[[], Store]


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[OpenSite]:
    """Opens a gateway on this store, or on one of its own: see `opened`."""
    artifact = await write_toy_artifact(tmp_path / "toy")
    async with AsyncExitStack() as stack:

        async def open_(store: Store | None = None, *choices: str, **options: Any) -> Site:
            site = await opened(artifact, store or MemoryStore(), *choices, **options)
            stack.push_async_callback(site.sets.aclose)
            return site

        yield open_


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store, not there yet."""
    return tmp_path / "state" / "clipserve" / "label-sets"


@pytest.fixture
def another(folder: Path) -> OpenStore:
    """Opens the same store, as another gateway does."""
    return lambda: Folder(folder)

"""Label sets that are built, out of the store."""

from __future__ import annotations

import asyncio

from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.entry import Entry
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.served_set import ServedSet
from clipserve.application.label_sets.store import Store


async def stored_set(store: Store, entry: Entry, digest: str, definition: Definition) -> ServedSet | None:
    """The set of this definition; None: its embeddings are not there, or are damaged. Raises StoreUnavailable."""
    version = version_of(digest, entry.model.fingerprint)
    stored = await store.get(("weights", f"{entry.wanted.name}/{version}"))
    if stored is None:
        return None
    return await asyncio.to_thread(lambda: entry.set_of(digest, definition, Weights.from_bytes(stored)))


async def former_set(store: Store, entry: Entry, digest: str) -> ServedSet | None:
    """What is served until the new definition is built; None: nothing. Raises StoreUnavailable."""
    stored = await store.get(("definitions", f"{entry.wanted.name}/{digest}"))
    if stored is None:
        return None
    try:
        definition = await asyncio.to_thread(Definition.from_bytes, stored)
    except Exception:  # it is damaged, in whatever way
        return None
    return await stored_set(store, entry, digest, definition)

"""What is written to the store when a set is put."""

from __future__ import annotations

import hashlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from clipserve.application.label_sets import definition
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import Counted, not_waiting
from tests.application.label_sets.memory_store import MemoryStore


async def test_a_put_that_needs_no_build_deletes_what_was_replaced_too(open_site: OpenSite) -> None:
    site = await open_site(store := MemoryStore(), backend=(backend := Counted()))
    await site.put()
    backend.gate.clear()
    for labels in (["cow"], ["hen"]):
        with not_waiting():
            assert (await site.put(labels=labels)).state == "building"
    assert len(await store.names("definitions")) == 2
    assert (await site.put()).state == "ready"
    assert len(await store.names("definitions")) == 1


async def test_a_definition_is_hashed_once_and_not_on_the_event_loop(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have megabytes."""
    site = await open_site()
    threads: list[str] = []

    def sha256(data: bytes) -> Any:
        if data.startswith(b"{"):
            threads.append(threading.current_thread().name)
        return hashlib.sha256(data)

    monkeypatch.setattr(definition, "hashlib", SimpleNamespace(sha256=sha256))
    await site.put()
    assert len(threads) == 1
    assert threads != [threading.main_thread().name]

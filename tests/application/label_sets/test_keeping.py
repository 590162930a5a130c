"""What is written to the store when a set is put."""

from __future__ import annotations

import hashlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from clipserve.application.label_sets import definition
from tests.application.label_sets.conftest import OpenSite


async def test_a_definition_is_not_hashed_on_the_event_loop(
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
    assert threads
    assert threading.main_thread().name not in threads

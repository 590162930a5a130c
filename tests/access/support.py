"""Keys for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clipserve.access.keys import Key, digest_of, new_key
from clipserve.access.rate_counter import LocalRateCounter
from clipserve.wiring import gateway


def made(name: str = "camera", **changes: Any) -> tuple[str, Key]:
    """A key, and what is kept of it."""
    key = new_key()
    fields = {"name": name, "sha256": digest_of(key), "scopes": ("use",)} | changes
    return key, Key.model_validate(fields)


def write_keys(path: Path, **named: dict[str, Any]) -> dict[str, str]:
    """A file of keys; name -> key."""
    keys = {name: new_key() for name in named}
    lines = [
        json.dumps({"name": name, "sha256": digest_of(keys[name]), "scopes": ["use"]} | more)
        for name, more in named.items()
    ]
    path.write_text("".join(line + "\n" for line in lines))
    return keys


@contextmanager
def one_window() -> Iterator[None]:
    """Services that are opened in the block count all use at one moment: no window of a rate ends meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "LocalRateCounter", lambda: LocalRateCounter(lambda: 1_000.0))
        yield


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}

"""A label set in a service that runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.support.process import get, put


def built(url: str, name: str, definition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Put this definition, or none, and wait until the set is built. Returns what the service says of it.

    PUT itself waits for two seconds, and a busy machine takes longer.
    """
    at = f"{url}/label-sets/{name}"
    answer = put(at, json=definition) if definition else get(at)
    until = time.monotonic() + 300
    while answer.raise_for_status().json()["state"] == "building":
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)
        answer = get(at)
    said: dict[str, Any] = answer.json()
    assert said["state"] == "ready", said
    return said

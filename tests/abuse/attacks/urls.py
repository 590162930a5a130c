"""Images by URL, on a listed host that does harm: what it sends costs as little as what it does not send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from tests.abuse import hostile_host
from tests.abuse.attack import Attack, request, whole

_MOST = 32  # images in a request


def embedding(path: str, count: int = _MOST) -> bytes:
    """A request for images at this path of the hostile host."""
    return request("/embed", json.dumps({"images": [hostile_host.url() + path] * count}).encode())


def _bulk(path: str) -> bytes:
    """The same, as a bulk request."""
    body = json.dumps({"images": [hostile_host.url() + path] * _MOST}).encode()
    return request("/embed", body, "application/json", "X-Priority: bulk")


# What is asked for, and whether that is an answer with vectors or lines.
URLS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "32 silent ones": (lambda: embedding("/silent"), False),
    "32 that drip": (lambda: embedding("/drip"), False),
    "32 in chunks of two bytes": (lambda: embedding("/chunks"), False),
    "32 after headers without end": (lambda: embedding("/headers"), False),
    "32 that lead around": (lambda: embedding("/around"), False),
    "4 of 20 MB of zeros": (lambda: embedding("/zeros", 4), False),
    "32 photos": (lambda: embedding("/photo"), True),
    "32 silent ones in bulk": (lambda: _bulk("/silent"), False),
}


def attacks() -> Iterator[Attack]:
    for name, (make, legal) in URLS.items():
        yield Attack("images by URL", name, whole(make), legal, slow=True)

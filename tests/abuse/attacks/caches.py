"""Floods of what is different each time: nothing that a client names may be kept without a bound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from tests.abuse.attack import Act, Attack, Piece, head, request

_COUNT = 2_000


def _each(make: Callable[[int], bytes]) -> Callable[[], Iterator[Piece]]:
    """One after the other, on one connection."""

    def pieces() -> Iterator[Piece]:
        for n in range(_COUNT):
            yield make(n)
            yield Act.AWAIT

    return pieces


def _id(n: int) -> bytes:
    return head("/livez", f"X-Request-Id: request-{n}", method="GET")


FLOODS: dict[str, Callable[[int], bytes]] = {
    "labels": lambda n: request(f"/classify?labels=label{n}&labels=b", b"\xff\xd8\xff", "image/jpeg"),
    "texts": lambda n: request("/embed", json.dumps({"texts": [f"text {n}"]}).encode()),
    "request ids": _id,
    "boundaries": lambda n: request("/embed", b"x", f"multipart/form-data; boundary={n}"),
    "methods": lambda n: head("/embed", method=f"PATCH{n}"),
    "header names": lambda n: head("/livez", f"X-{n}: a", method="GET"),
}


def attacks() -> Iterator[Attack]:
    for name, make in FLOODS.items():
        yield Attack(
            "caches",
            f"{_COUNT:,} {name}",
            _each(make),
            True,
            silent=name == "methods",
            answers=_COUNT,
            slow=True,
        )

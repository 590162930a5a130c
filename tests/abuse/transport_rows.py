"""Floods and slowness: requests that never end, never begin, are never read, or whose client leaves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from functools import partial

from tests.abuse import hostile_host
from tests.abuse.attack import Act, Attack, Make, Piece, good, head, images, request
from tests.abuse.files import webp_lossless
from tests.abuse.request_rows import classified

_OPEN = b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
_CHUNKED = _OPEN + b"Transfer-Encoding: chunked\r\n\r\n"
_SIDE = 2_500  # pixels
_BLOCK = b"a" * 65_536
_MANY = 540  # connections of one address, more than it may have


def _endless(first: bytes, again: bytes, size: int = 100_000_000) -> Make:
    block = again * max(1, len(_BLOCK) // len(again))
    return lambda: itertools.chain([first], itertools.repeat(block, size // len(block)))


def _dripping(first: bytes, drip: bytes) -> Iterator[Piece]:
    """A byte a second."""
    yield first
    for byte in itertools.islice(itertools.cycle(drip), 60):
        yield bytes([byte])
        yield 1.0


def _texts(count: int) -> Iterator[Piece]:
    """One after the other on a connection, each with a text that is new: none may be kept for ever."""
    for number in range(count):
        yield request("/embed", json.dumps({"texts": [f"text {number}"]}).encode())
        yield Act.AWAIT


FLOODS: dict[str, Make] = {
    "100 MB of headers": _endless(_OPEN, b"A: " + b"b" * 1_000 + b"\r\n"),
    "endless trailers": _endless(_CHUNKED + b"0\r\n", b"A: " + b"b" * 1_000 + b"\r\n"),
    "a body without end": _endless(_OPEN + b"Content-Length: 100000000\r\n\r\n", _BLOCK),
    "nothing at all": list,
    "a head, a byte a second": lambda: _dripping(b"", _OPEN),
    "a body, a byte a second": lambda: _dripping(_OPEN + b"Content-Length: 1000\r\n\r\n", b" "),
    "19.9 MB without the last byte": lambda: [
        _OPEN + b"Content-Length: 19900000\r\n\r\n" + b" " * 19_899_999
    ],
}
_COSTLY = request("/embed", json.dumps({"texts": [f"a text of number {n}" for n in range(256)]}).encode())
_BULK = _COSTLY.replace(b"\r\n\r\n", b"\r\nX-Priority: bulk\r\n\r\n", 1)
_LARGE = classified([f"label {n}" for n in range(1_000)], [], count=32)
# How many answers there may be, photos that it may cost, and what is sent.
LEFT: dict[str, tuple[int, float, Make]] = {
    "chunks of one byte": (1, 8.0, lambda: [_CHUNKED, b"1\r\n \r\n" * 1_000_000, b"0\r\n\r\n"]),
    "10,000 GET of the document, unread": (
        10_000,
        40.0,
        lambda: [Act.DEAF, head("/openapi.json", method="GET") * 10_000, 5.0],
    ),
    "32 bombs, then a reset": (1, 32.0, lambda: [images([webp_lossless(_SIDE, _SIDE)] * 32), 0.3, Act.RESET]),
    "a large answer, unread": (1, 40.0, lambda: [Act.DEAF, _LARGE, 8.0]),
    "a bulk request, then a reset": (1, 8.0, lambda: [_BULK, 0.2, Act.RESET]),
    "300 texts": (300, 30.0, lambda: _texts(300)),
}


def _loop(data: bytes) -> Iterable[Piece]:
    return [data, Act.AWAIT]


LOOPS: dict[str, bytes] = {
    "photos": good(),
    "half a head": _OPEN,
    "19 MB bodies": _OPEN + b"Content-Length: 19900000\r\n\r\n" + b" " * 100_000,
}


def _at_work() -> Iterator[Piece]:
    """All are answered for seconds, so that none of them can be closed for another address."""
    yield request("/embed", json.dumps({"images": [hostile_host.url() + "/silent"]}).encode())
    yield Act.AWAIT


def attacks() -> Iterator[Attack]:
    for name, make in FLOODS.items():
        yield Attack(name, make, silent=True)
    for name, (answers, photos, make) in LEFT.items():
        yield Attack(name, make, legal=True, silent=True, answers=answers, photos=photos)
    for name, data in LOOPS.items():
        title = f"{_MANY} connections of {name}"
        yield Attack(title, partial(_loop, data), legal=True, silent=True, connections=_MANY)
    title = f"{_MANY} connections of a silent URL"
    yield Attack(title, _at_work, legal=True, silent=True, connections=_MANY)

"""Floods and slowness: requests that never end, never begin, or are never read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator

from tests.abuse.attack import GET, Act, Attack, Piece, form, head, images_form, part, request
from tests.abuse.attacks.files import small, webp_lossless

MB = 1_000_000
_OPEN = b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
_CHUNKED = _OPEN + b"Transfer-Encoding: chunked\r\n\r\n"
_BLOCK = b"a" * 65_536


def _endless(first: bytes, again: bytes, size: int = 100 * MB) -> Callable[[], Iterable[Piece]]:
    return lambda: itertools.chain([first], itertools.repeat(again, size // len(again)))


def _each_second(first: bytes, again: bytes, times: int = 90) -> Iterator[Piece]:
    yield first
    for _ in range(times):
        yield again
        yield 1.0


def _dripping(first: bytes, drip: bytes, seconds: int = 90) -> Iterator[Piece]:
    """A byte a second."""
    yield first
    for byte in itertools.islice(itertools.cycle(drip), seconds):
        yield bytes([byte])
        yield 1.0


def _headers(count: int, size: int = 10) -> bytes:
    return head("/embed", *(f"X-{n}: {'v' * size}" for n in range(count)), "Content-Length: 0")


FLOODS: dict[str, Callable[[], Iterable[Piece]]] = {
    "100 MB of headers": _endless(_OPEN, b"A: " + b"b" * 1_000 + b"\r\n"),
    "one endless value": _endless(_OPEN + b"A: ", _BLOCK),
    "an endless target": _endless(b"GET /", _BLOCK),
    "endless line ends": _endless(b"", b"\r\n" * 30_000),
    "endless white space in a value": _endless(_OPEN + b"A:", b" " * 65_536),
    "10,000 headers": lambda: [_headers(10_000)],
    "a header of 200 KB": lambda: [_headers(1, 200_000)],
    "endless trailers": _endless(_CHUNKED + b"0\r\n", b"A: " + b"b" * 1_000 + b"\r\n"),
    "an endless chunk extension": _endless(_CHUNKED + b"1;", _BLOCK),
    "extensions of 1,000 chunks": lambda: [
        _CHUNKED,
        (b"1;" + b"a" * 9_000 + b"\r\n \r\n") * 1_000,
        b"0\r\n\r\n",
    ],
    "chunks of one byte": lambda: [_CHUNKED, b"1\r\n \r\n" * 1_000_000, b"0\r\n\r\n"],
    "chunks without end": _endless(_CHUNKED, b"10000\r\n" + _BLOCK + b"\r\n"),
    "a body without end": _endless(_OPEN + b"Content-Length: 100000000\r\n\r\n", _BLOCK),
}
SLOW: dict[str, Callable[[], Iterable[Piece]]] = {
    "nothing at all": lambda: [90.0],
    "half a header": lambda: [_OPEN, 90.0],
    "a header, a byte a second": lambda: _dripping(b"", _OPEN * 2),
    "a body, a byte a second": lambda: _dripping(_OPEN + b"Content-Length: 1000\r\n\r\n", b" "),
    "a chunk a second": lambda: _each_second(_CHUNKED, b"1\r\n \r\n"),
    "19.9 MB of which the last byte is withheld": lambda: [
        _OPEN + b"Content-Length: 19900000\r\n\r\n",
        b" " * 19_899_999,
        90.0,
    ],
    "idle after an answer": lambda: [GET, 90.0],
}


def _many_labels() -> bytes:
    labels = [part("labels", f"label {n}".encode()) for n in range(1_000)]
    return form("/classify", [*([part("image", small("JPEG"), "a")] * 32), *labels])


_BOMB = request("/embed", webp_lossless(7_000, 7_000), "image/webp")
_COSTLY = request("/embed", json.dumps({"texts": [f"a text of number {n}" for n in range(256)]}).encode())
PIPELINED: dict[str, tuple[int, Callable[[], Iterable[Piece]]]] = {
    "10,000 GET": (10_000, lambda: [GET * 10_000]),
    "10,000 GET, unread": (10_000, lambda: [Act.DEAF, GET * 10_000, 5.0]),
    "10,000 GET of the document, unread": (
        10_000,
        lambda: [Act.DEAF, head("/openapi.json", method="GET") * 10_000, 5.0],
    ),
    "10,000 unknown paths": (10_000, lambda: [head("/no", method="GET") * 10_000]),
    "1,000 small requests": (1_000, lambda: [request("/embed", b'{"texts": ["a"]}') * 1_000]),
    "100 bombs": (100, lambda: [_BOMB * 100]),
    "20 MB of GET behind a bomb": (1, lambda: [_BOMB + GET * 500_000]),
    "100 costly ones, then reset": (100, lambda: [_COSTLY * 100, 0.2, Act.RESET]),
    "a bomb, then reset": (1, lambda: [_BOMB, 0.2, Act.RESET]),
    "32 bombs, then reset": (1, lambda: [images_form([webp_lossless(7_000, 7_000)] * 32), 0.3, Act.RESET]),
    "a bomb, then end of sending": (1, lambda: [_BOMB, Act.HALF_CLOSE]),
    "a large answer, unread": (1, lambda: [Act.DEAF, _many_labels(), 5.0]),
    "100 large answers, unread": (100, lambda: [Act.DEAF, _many_labels() * 100, 8.0]),
    "half a body, then reset": (
        1,
        lambda: [_OPEN + b"Content-Length: 9999\r\n\r\n" + b" " * 999, 0.2, Act.RESET],
    ),
    "half a body, then end of sending": (
        1,
        lambda: [_OPEN + b"Content-Length: 9999\r\n\r\n", Act.HALF_CLOSE],
    ),
    "reset at once": (1, lambda: [Act.RESET]),
}


def attacks() -> Iterator[Attack]:
    for name, make in FLOODS.items():
        slow = "MB" in name or "endless" in name or "end" in name
        yield Attack("transport floods", name, make, legal="chunks" in name, silent=True, slow=slow)
    for name, make in SLOW.items():
        idle = name.startswith("idle")
        yield Attack("slow clients", name, make, legal=idle, silent=True, answers=2, slow=True)
    for name, (answers, make) in PIPELINED.items():
        yield Attack("pipelining, departures", name, make, True, True, answers=answers, slow=True)

"""Clients of /bulk and EmbedStream that leave with their work undone: it is nobody's any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from clipserve.v1 import clip_pb2
from tests.abuse.attack import Act, Attack, Piece, head, request
from tests.rpc import raw

_KIND = "departures"
_LINE = b'{"text": "a cat"}\n'
_SHORT = b'{"text":"a"}\n'
_OPEN = head("/bulk", "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
_MEGABYTE = request("/bulk", _LINE * (1_000_000 // len(_LINE)), "application/x-ndjson")


def _stream() -> bytes:
    message = clip_pb2.EmbedStreamRequest(text="a cat").SerializeToString()
    call = raw.call(1, "EmbedStream") + raw.message(1, message, end=False) * 3_000
    return raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0) + call


REST: dict[str, Callable[[], Iterable[Piece]]] = {
    "a megabyte of lines, then a reset": lambda: [_MEGABYTE, 0.2, Act.RESET],
    "a megabyte of lines, unread, then a reset": lambda: [Act.DEAF, _MEGABYTE, 0.2, Act.RESET],
    "a megabyte of lines, then end of sending": lambda: [_MEGABYTE, Act.HALF_CLOSE, 0.2, Act.RESET],
    "half a megabyte of lines, then a reset": lambda: [_MEGABYTE[:500_000], 0.2, Act.RESET],
    "HTTP/1.0, then a reset": lambda: [_MEGABYTE.replace(b"HTTP/1.1", b"HTTP/1.0"), 0.2, Act.RESET],
}


def _dripping(lines: int) -> Iterator[Piece]:
    yield _OPEN
    for _ in range(lines):
        yield b"%x\r\n%b\r\n" % (len(_SHORT), _SHORT)
        yield 5.0


# Slow ones, which would rather not leave.
SLOW: dict[str, Callable[[], Iterable[Piece]]] = {
    "a line of 13 bytes each 5 s": lambda: _dripping(40),
}
RPC: dict[str, Callable[[], Iterable[Piece]]] = {
    "3,000 messages of EmbedStream, then a reset": lambda: [_stream(), 0.2, Act.RESET],
    "3,000 messages of EmbedStream, unread, then a reset": lambda: [Act.DEAF, _stream(), 0.2, Act.RESET],
}


def attacks() -> Iterator[Attack]:
    for rpc, table in ((False, REST), (True, RPC)):
        for name, make in table.items():
            yield Attack(_KIND, name, make, legal=True, silent=True, rpc=rpc, slow=True)
    for name, make in SLOW.items():
        yield Attack(_KIND, name, make, legal=True, patience=200.0, slow=True)

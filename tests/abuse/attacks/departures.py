"""Bulk clients that leave with their work undone: it is nobody's any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from clipserve.v1 import clip_pb2
from tests.abuse.attack import Act, Attack, Piece, request
from tests.rpc import raw

_KIND = "departures"
_TEXTS = json.dumps({"texts": [f"a cat on mat {n}" for n in range(256)]}).encode()
_BULK = request("/embed", _TEXTS, "application/json", "X-Priority: bulk")


def _stream() -> bytes:
    message = clip_pb2.EmbedStreamRequest(text="a cat").SerializeToString()
    call = raw.call(1, "EmbedStream") + raw.message(1, message, end=False) * 3_000
    return raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0) + call


REST: dict[str, Callable[[], Iterable[Piece]]] = {
    "256 texts, then a reset": lambda: [_BULK, 0.2, Act.RESET],
    "256 texts, then end of sending": lambda: [_BULK, Act.HALF_CLOSE, 0.2, Act.RESET],
    "HTTP/1.0, then a reset": lambda: [_BULK.replace(b"HTTP/1.1", b"HTTP/1.0"), 0.2, Act.RESET],
}
RPC: dict[str, Callable[[], Iterable[Piece]]] = {
    "3,000 messages of EmbedStream, then a reset": lambda: [_stream(), 0.2, Act.RESET],
    "3,000 messages of EmbedStream, unread, then a reset": lambda: [Act.DEAF, _stream(), 0.2, Act.RESET],
}


def attacks() -> Iterator[Attack]:
    for rpc, table in ((False, REST), (True, RPC)):
        for name, make in table.items():
            yield Attack(_KIND, name, make, legal=True, silent=True, rpc=rpc, slow=True)

"""Keys that are removed, or replaced under their name, while what they have begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tests.abuse import keys
from tests.abuse.attack import Attack, Piece, head
from tests.abuse.attacks.rpc import HELLO, message_of
from tests.rpc import raw

_TEXTS = 5_000  # at five a second, and fifty at once


def _bulk(change: Callable[[], None]) -> Iterator[Piece]:
    lines = b'{"text": "a b c d e f g h"}\n' * _TEXTS
    more = (f"Content-Length: {len(lines)}", f"Authorization: Bearer {keys.REVOKED}")
    yield keys.both
    yield keys.SECONDS
    yield head("/bulk", "Content-Type: application/x-ndjson", *more) + lines
    yield 0.5
    yield change


def _stream(change: Callable[[], None]) -> Iterator[Piece]:
    call = raw.call(1, "EmbedStream", authorization=f"Bearer {keys.REVOKED}")
    message = message_of(text="a b c d e f g h")
    yield keys.both
    yield keys.SECONDS
    yield HELLO + call + raw.message(1, message, end=False) * 1_000
    yield 0.5
    yield change


def attacks() -> Iterator[Attack]:
    for how, change in {"removed": keys.removed, "replaced under its name": keys.replaced}.items():
        for what, make in {"a bulk request": _bulk, "a stream": _stream}.items():
            rpc = make is _stream
            name = f"{what} whose key is {how}"
            yield Attack(
                "revoked keys",
                name,
                partial(make, change),
                True,
                patience=30.0,
                rpc=rpc,
                slow=True,
                keyed=True,
            )

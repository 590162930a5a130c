"""Keys that are removed, or replaced under their name, while what they have begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tests.abuse import keys
from tests.abuse.attack import Attack, Piece
from tests.abuse.attacks.rpc import HELLO, message_of
from tests.rpc import raw


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
        name, make = f"a stream whose key is {how}", partial(_stream, change)
        yield Attack("revoked keys", name, make, True, patience=30.0, rpc=True, slow=True, keyed=True)

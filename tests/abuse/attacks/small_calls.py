"""Health and reflection, which gRPC's own library would serve to everybody, with messages of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from tests.abuse.attack import Act, Attack, Piece
from tests.abuse.attacks.rpc import HELLO, streams
from tests.rpc import raw
from tests.rpc.raw import END_HEADERS, frame

_KIND = "health and reflection"
_CALLS = 100  # as many as a connection may have
_METHODS = {
    "checks": "/grpc.health.v1.Health/Check",
    "watches": "/grpc.health.v1.Health/Watch",
    "reflections": "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
_UNKNOWN = b"\x7a\xe0\xd4\x03" + bytes(60_000)  # a field that no message has
_WITHHELD = 19_000_000  # announced; before it is read a stream takes 64 KB


def _calls(path: str, message: bytes = b"", announced: int | None = None) -> bytes:
    fields = raw.fields_of(path)
    ends = announced is None
    calls = (
        frame(raw.HEADERS, END_HEADERS, at, fields) + raw.message(at, message, announced=announced, end=ends)
        for at in streams(_CALLS)
    )
    return HELLO + b"".join(calls)


def _whole(path: str) -> Iterable[Piece]:
    """A hundred messages of 60 KB, as many as fit into what the connection may send before it is read."""
    for at in streams(_CALLS):
        yield (HELLO if at == 1 else b"") + frame(raw.HEADERS, END_HEADERS, at, raw.fields_of(path))
        yield raw.message(at, _UNKNOWN)
        yield Act.AWAIT


def _withheld(path: str) -> Iterable[Piece]:
    return [_calls(path, b"abc", announced=_WITHHELD)]


def _nothing(path: str) -> Iterable[Piece]:
    """The headers alone."""
    fields = raw.fields_of(path)
    return [HELLO + b"".join(frame(raw.HEADERS, END_HEADERS, at, fields) for at in streams(_CALLS))]


def _left(path: str) -> Iterable[Piece]:
    return [_calls(path), 0.2, Act.RESET]


def attacks() -> Iterator[Attack]:
    for name, path in _METHODS.items():
        yield Attack(_KIND, f"100 {name} of 60 KB each", partial(_whole, path), rpc=True, answers=_CALLS)
        for what, make in {"withhold their message": _withheld, "say nothing": _nothing}.items():
            yield Attack(
                _KIND, f"100 {name} that {what}", partial(make, path), rpc=True, answers=_CALLS, slow=True
            )
        yield Attack(
            _KIND,
            f"100 {name}, then reset",
            partial(_left, path),
            legal=True,
            silent=True,
            rpc=True,
            slow=True,
        )

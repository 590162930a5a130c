"""gRPC: floods of frames, messages that are none, calls that nobody ends, health and reflection.

All is sent at once, so that a message has at most the 64 KB that a stream may send before it is read.
"""

from __future__ import annotations

import gzip
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from clipserve.v1 import clip_pb2
from tests.abuse.attack import Act, Attack, Make, Piece
from tests.abuse.files import png_of_zeros
from tests.rpc import raw
from tests.rpc.raw import END_HEADERS, frame

_CANCEL = struct.pack(">I", 8)
_WINDOW = struct.pack(">HI", 4, 1 << 24)  # the setting of that name: room for an answer
_ROOM = frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
HELLO = raw.PREFACE + frame(raw.SETTINGS, 0, 0, _WINDOW) + frame(raw.SETTINGS, raw.ACK, 0) + _ROOM
_EMBED = "/clipserve.v1.Clip/Embed"
_CHECK = "/grpc.health.v1.Health/Check"
_UNKNOWN = b"\x7a\xe0\xd4\x03" + bytes(60_000)  # a field that no message has


def _calls(count: int, path: str, message: bytes = b"", announced: int | None = None) -> bytes:
    """So many calls, each with this message, or with the beginning of one of `announced` bytes."""
    fields = raw.fields_of(path)
    return b"".join(
        frame(raw.HEADERS, END_HEADERS, at, fields)
        + raw.message(at, message, announced=announced, end=announced is None)
        for at in range(1, 2 * count, 2)
    )


def _again(first: bytes, again: bytes, times: int = 100_000) -> Iterable[Piece]:
    return itertools.chain([first], itertools.repeat(again * 1_000, times // 1_000))


def _cancelled() -> Iterator[Piece]:
    yield HELLO
    for stream in range(1, 10_000, 2):
        yield raw.call(stream) + frame(raw.RST_STREAM, 0, stream, _CANCEL)


def _indexed() -> Iterator[Piece]:
    """A field of 4,000 bytes, named in full once and then by one byte, again and again (an HPACK bomb)."""
    size = bytes([0x7F, 0x80 | (4_000 - 127) % 128, (4_000 - 127) // 128])
    first = raw.fields_of(_EMBED) + b"\x40\x01a" + size + b"v" * 4_000
    yield HELLO + frame(raw.HEADERS, 0, 1, first)
    yield from itertools.repeat(frame(raw.CONTINUATION, 0, 1, b"\xbe" * 16_000), 200)


def _unread() -> Iterator[Piece]:
    """A hundred answers, for which there is no room, on a connection that is not read."""
    none = frame(raw.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    message = clip_pb2.EmbedRequest(texts=["a"] * 20).SerializeToString()
    yield raw.PREFACE + none + _calls(100, _EMBED, message)
    yield Act.DEAF
    yield 20.0


def _costly() -> bytes:
    return bytes(
        clip_pb2.EmbedRequest(images=[png_of_zeros(5_000, 4_000, depth=1, colour=0)]).SerializeToString()
    )


def _bomb() -> bytes:
    """10 MB of zeros, compressed, and said to be so."""
    zeros = gzip.compress(bytes(10_000_000))
    return HELLO + raw.call(1, grpc_encoding="gzip") + raw.message(1, zeros, compressed=True)


def _stream() -> bytes:
    message = clip_pb2.EmbedStreamRequest(text="a cat").SerializeToString()
    return HELLO + raw.call(1, "EmbedStream") + raw.message(1, message, end=False) * 3_000


# Frames that are no call, or a call that leaves: an answer is neither here nor there.
FLOODS: dict[str, tuple[Make, float]] = {
    "5,000 calls begun and cancelled": (_cancelled, 20.0),
    "100,000 resets": (lambda: _again(HELLO + raw.call(1), frame(raw.RST_STREAM, 0, 1, _CANCEL)), 20.0),
    "100,000 bytes of a message": (
        lambda: _again(
            HELLO + raw.call(1) + raw.message(1, b"", announced=19_000_000, end=False),
            frame(raw.DATA, 0, 1, b"a"),
        ),
        8.0,
    ),
    "13 GB of headers in 3 MB": (_indexed, 8.0),
    "100 answers unread": (_unread, 60.0),
    "100 costly calls, then a reset": (
        lambda: [HELLO + _calls(100, _EMBED, _costly()), 1.0, Act.RESET],
        160.0,
    ),
    "3,000 messages of a stream, then a reset": (lambda: [_stream(), 0.2, Act.RESET], 40.0),
}
# How many calls there are, each refused, and what is sent.
REFUSED: dict[str, tuple[int, Callable[[], bytes]]] = {
    "a message of four gigabytes, announced": (1, lambda: HELLO + _calls(1, _EMBED, b"abc", 2**32 - 1)),
    "a message of 10 MB in 10 KB": (1, _bomb),
    "30,000 unknown fields": (1, lambda: HELLO + _calls(1, _EMBED, b"\x7a\0" * 30_000)),
    "a check of 60 KB": (1, lambda: HELLO + _calls(1, _CHECK, _UNKNOWN)),
    "100 checks that withhold their message": (100, lambda: HELLO + _calls(100, _CHECK, b"abc", 19_000_000)),
}


def _once(data: Callable[[], bytes]) -> Iterable[Piece]:
    return [data()]


def attacks() -> Iterator[Attack]:
    for name, (make, photos) in FLOODS.items():
        title = f"gRPC: {name}"
        yield Attack(title, make, True, True, answers=10_000, patience=10.0, photos=photos, rpc=True)
    for name, (answers, data) in REFUSED.items():
        yield Attack(f"gRPC: {name}", partial(_once, data), answers=answers, photos=8.0, rpc=True)

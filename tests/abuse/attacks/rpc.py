"""The gRPC front: floods of frames, messages that are none, calls that nobody ends.

All is sent at once, so that a message has at most the 64 KB that a stream may send before it is read.
"""

from __future__ import annotations

import gzip
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from clipserve.v1 import clip_pb2
from tests.abuse.attack import GET, Act, Attack, Piece, whole
from tests.abuse.attacks.files import png_of_zeros, webp_lossless
from tests.rpc import raw
from tests.rpc.raw import END_HEADERS, END_STREAM, frame

_KIND = "gRPC"
_CANCEL = struct.pack(">I", 8)
_ROOM = frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
_WINDOW = struct.pack(">HI", 4, 1 << 24)  # the setting of that name: room for an answer
HELLO = raw.PREFACE + frame(raw.SETTINGS, 0, 0, _WINDOW) + frame(raw.SETTINGS, raw.ACK, 0) + _ROOM
_CALL = HELLO + raw.call(1)

Make = Callable[[], Iterable[Piece]]


def flood(first: bytes, again: bytes, times: int) -> Iterable[Piece]:
    """`first`, and then `again` so many times, which are thousands."""
    return itertools.chain([first], itertools.repeat(again * 1_000, times // 1_000))


def _calls(count: int, message: bytes | None) -> bytes:
    """So many calls, each with this message or without any."""
    return b"".join(
        raw.call(at) + (b"" if message is None else raw.message(at, message)) for at in streams(count)
    )


def streams(count: int) -> range:
    """The numbers of so many streams that a client opens."""
    return range(1, 2 * count, 2)


def _resets(count: int) -> Iterator[Piece]:
    yield HELLO
    for stream in streams(count):
        yield raw.call(stream) + frame(raw.RST_STREAM, 0, stream, _CANCEL)


def _headers(more: bytes, again: bytes, times: int) -> Iterator[Piece]:
    """A call whose headers go on in further frames."""
    yield HELLO + frame(raw.HEADERS, 0, 1, raw.fields_of("/clipserve.v1.Clip/Embed") + more)
    yield from itertools.repeat(frame(raw.CONTINUATION, 0, 1, again), times)


def _indexed() -> Iterator[Piece]:
    """A field of 4,000 bytes, named in full once and then by one byte, again and again (an HPACK bomb)."""
    size = bytes([0x7F, 0x80 | (4_000 - 127) % 128, (4_000 - 127) // 128])
    return _headers(b"\x40\x01a" + size + b"v" * 4_000, b"\xbe" * 16_000, 200)


def _answers_unread() -> Iterator[Piece]:
    """A hundred answers, for which there is no room, on a connection that is not read."""
    none = frame(raw.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    yield raw.PREFACE + none + _calls(100, _message(texts=["a"] * 60))
    yield Act.DEAF
    yield 20.0


def _message(images: Sequence[bytes] = (), texts: Sequence[str] = ()) -> bytes:
    return bytes(clip_pb2.EmbedRequest(images=images, texts=texts).SerializeToString())


def message_of(text: str) -> bytes:
    """One of EmbedStream."""
    return bytes(clip_pb2.EmbedStreamRequest(text=text).SerializeToString())


def _large() -> bytes:
    return _message(images=[png_of_zeros(5_000, 4_000, depth=1, colour=0)])


def _empty(field: int, count: int) -> bytes:
    """So many empty strings in this field."""
    return bytes([field << 3 | 2, 0]) * count


def _watches() -> bytes:
    fields = raw.fields_of("/grpc.health.v1.Health/Watch")
    calls = (frame(raw.HEADERS, END_HEADERS, at, fields) + raw.message(at, b"") for at in streams(100))
    return HELLO + b"".join(calls)


# What comes first, and what is sent again and again.
REPEATED: dict[str, tuple[bytes, bytes]] = {
    "pings": (HELLO, frame(raw.PING, 0, 0, b"12345678")),
    "settings": (HELLO, frame(raw.SETTINGS, 0, 0, struct.pack(">HI", 4, 70_000))),
    "sizes of the table": (HELLO, frame(raw.SETTINGS, 0, 0, struct.pack(">HIHI", 1, 0, 1, 4_096))),
    "updates of a window": (_CALL, frame(raw.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))),
    "priorities": (HELLO, frame(raw.PRIORITY, 0, 3, b"\0\0\0\1\1")),
    "resets": (_CALL, frame(raw.RST_STREAM, 0, 1, _CANCEL)),
    "goodbyes": (_CALL, frame(raw.GOAWAY, 0, 0, bytes(8))),
    "empty frames of data": (_CALL, frame(raw.DATA, 0, 1)),
    "bytes of a message": (
        _CALL + raw.message(1, b"", announced=19_000_000, end=False),
        frame(raw.DATA, 0, 1, b"a"),
    ),
    "frames of no kind": (HELLO, frame(77, 0, 0)),
}
FLOODS: dict[str, Make] = {
    "10,000 calls begun and cancelled": lambda: _resets(10_000),
    "1,000 calls without a message": lambda: [HELLO + _calls(1_000, None)],
    **{f"100,000 {name}": partial(flood, *frames, 100_000) for name, frames in REPEATED.items()},
    "20 MB of headers": lambda: _headers(b"", raw.field("x", "y" * 100) * 100, 2_000),
    "headers that go on emptily": lambda: _headers(b"", b"", 100_000),
    "13 GB of headers in 3 MB": _indexed,
    "HTTP/1.1": lambda: [GET],
    "a megabyte of noise": lambda: [np.random.default_rng(0).bytes(1_000_000)],
    "a megabyte of zeros": lambda: [HELLO + bytes(1_000_000)],
    "100 watches of its health": whole(_watches),
    "100 answers unread": _answers_unread,
    "100 costly calls, then reset": lambda: [HELLO + _calls(100, _large()), 1.0, Act.RESET],
}

# A call with this message each.
MESSAGES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "30,000 empty texts": lambda: _empty(2, 30_000),
    "30,000 empty images": lambda: _empty(1, 30_000),
    "30,000 unknown fields": lambda: _empty(15, 30_000),
    "60,000 groups": lambda: b"\x0b" * 60_000,
    "a number without an end": lambda: b"\x18" + b"\xff" * 60_000,
    "a text longer than the message": lambda: b"\x12\xff\xff\xff\xff\x0fabc",
    "a text that is not UTF-8": lambda: b"\x12\x02\xff\xfe",
    "a text of 60,000 letters": lambda: _message(texts=["a" * 60_000]),
    "33 images": lambda: _message(images=[webp_lossless(40, 30)] * 33),
    "a WebP of 49 MP": lambda: _message(images=[webp_lossless(7_000, 7_000)]),
}


def _unknown_methods() -> bytes:
    fields = raw.fields_of("/clipserve.v1.Clip/Nothing")
    return HELLO + b"".join(frame(raw.HEADERS, END_HEADERS | END_STREAM, at, fields) for at in streams(100))


def _bomb() -> bytes:
    """10 MB of zeros, compressed, and said to be so."""
    return (
        HELLO
        + raw.call(1, grpc_encoding="gzip")
        + raw.message(1, gzip.compress(bytes(10_000_000)), compressed=True)
    )


def _announced() -> bytes:
    """Three bytes of a message of four gigabytes."""
    return _CALL + raw.message(1, b"abc", announced=2**32 - 1, end=False)


def attacks() -> Iterator[Attack]:
    for name, make in FLOODS.items():
        yield Attack(
            _KIND,
            name,
            make,
            silent=True,
            legal=True,
            patience=2.0,
            answers=10_000,
            requests=100 if name.startswith("100 ") else 8 if "begun" in name else 1,
            rpc=True,
            concurrent="costly calls" in name,
        )
    for name, message in MESSAGES.items():
        yield Attack(_KIND, name, whole(partial(_asked, message)), rpc=True)
    yield Attack(_KIND, "a PNG of 20 MP", whole(partial(_asked, _large)), legal=True, rpc=True)
    yield Attack(_KIND, "a message of 10 MB in 10 KB", whole(_bomb), rpc=True)
    yield Attack(_KIND, "a message of four gigabytes, announced", whole(_announced), rpc=True)
    yield Attack(_KIND, "100 unknown methods", whole(_unknown_methods), rpc=True, answers=100)


def _asked(message: Callable[[], bytes]) -> bytes:
    return _CALL + raw.message(1, message())

"""Mutations of bytes and of texts. All of them follow from the `Random` that is given."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from tests.abuse.fuzz.parts import Part, deflated, inflated, join, split

_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_WORDS = (0, 1, 2, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SIDES = (1, 100, 3_000, 7_000, 16_383)
_LARGE = 0.01  # the share of files whose header claims megapixels: each takes as long as a thousand others
_LONGEST = 100_000  # bytes of a mutation: a longer one only costs time


@dataclass(frozen=True)
class Material:
    """What mutations are made of: whole inputs, and words that mean something in them."""

    seeds: Sequence[bytes]
    words: Sequence[bytes]


Mutation = Callable[[Random, bytes, Material], bytes]


def _bit(random: Random, data: bytes, _: Material) -> bytes:
    at = random.randrange(len(data))
    return _put(data, at, bytes([data[at] ^ 1 << random.randrange(8)]))


def _byte(random: Random, data: bytes, _: Material) -> bytes:
    return _put(data, random.randrange(len(data)), bytes([random.choice((*_BYTES, random.randrange(256)))]))


def _word(random: Random, data: bytes, _: Material) -> bytes:
    size = random.choice((2, 4))
    word = (random.choice(_WORDS) % (1 << 8 * size)).to_bytes(size, random.choice(("big", "little")))
    return _put(data, random.randrange(len(data)), word)


def _delete(random: Random, data: bytes, _: Material) -> bytes:
    at, size = _range(random, data)
    return data[:at] + data[at + size :]


def _repeat(random: Random, data: bytes, _: Material) -> bytes:
    at, size = _range(random, data)
    return data[:at] + data[at : at + size] * random.choice((2, 2, 3, 10, 100)) + data[at + size :]


def _move(random: Random, data: bytes, _: Material) -> bytes:
    at, size = _range(random, data)
    to = random.randrange(len(data))
    return data[:to] + data[at : at + size] + data[to:]


def _cut(random: Random, data: bytes, _: Material) -> bytes:
    return data[: random.randrange(len(data))]


def _splice(random: Random, data: bytes, of: Material) -> bytes:
    other = random.choice(of.seeds)
    return data[: random.randrange(len(data))] + other[random.randrange(len(other)) :]


def _insert(random: Random, data: bytes, of: Material) -> bytes:
    at = random.randrange(len(data))
    word = random.choice(of.words) * random.choice((1, 1, 1, 2, 50, 2_000))
    return data[:at] + word + data[at + random.choice((0, len(word))) :]


_MUTATIONS: tuple[Mutation, ...] = (
    *(_bit, _bit, _byte, _byte, _word, _word, _insert, _insert),
    *(_delete, _repeat, _move, _cut, _splice),
)


def mutated(random: Random, data: bytes, of: Material) -> bytes:
    """One to six mutations, one after the other."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
        if not data:
            break
        data = random.choice(_MUTATIONS)(random, data, of)[:_LONGEST]
    return data


def mutated_image(random: Random, of: Material) -> bytes:
    """A file whose parts are mutated behind right lengths and checksums, or whose bytes are as they fall."""
    data = random.choice(of.seeds)
    head, parts = split(data)
    if not parts or random.random() < 0.4:
        return mutated(random, data, of)
    if random.random() < _LARGE:
        parts = [_enlarged(random, part) for part in parts]
    for _ in range(random.choice((1, 1, 2, 3))):
        _mutate_parts(random, parts, of)
    data = join(head, parts)
    return data if random.random() < 0.8 else mutated(random, data, of)


def _enlarged(random: Random, part: Part) -> Part:
    """A header that claims a size of megapixels."""
    width, height = random.choice(_SIDES), random.choice(_SIDES)
    if part.kind == b"IHDR":
        return replace(part, body=struct.pack(">II", width, height) + part.body[8:])
    if part.kind in (b"\xff\xc0", b"\xff\xc2"):
        return replace(part, body=part.body[:1] + struct.pack(">HH", height, width) + part.body[5:])
    if part.kind == b"VP8 ":
        return replace(part, body=part.body[:6] + struct.pack("<HH", width, height) + part.body[10:])
    if part.kind == b"VP8L":
        bits = (width - 1) | (height - 1) << 14
        return replace(part, body=part.body[:1] + struct.pack("<I", bits) + part.body[5:])
    if part.kind == b"VP8X":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return replace(part, body=part.body[:4] + sides + part.body[10:])
    return part


def _mutate_parts(random: Random, parts: list[Part], of: Material) -> None:
    if not parts:
        return
    at = random.randrange(len(parts))
    kind = random.randrange(8)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts[at:at] = [parts[at]] * random.choice((1, 1, 2, 10, 200))
    elif kind == 2:
        parts.insert(random.randrange(len(parts)), parts.pop(at))
    elif kind == 3:
        others = split(random.choice(of.seeds))[1]
        if others:
            parts.insert(at, random.choice(others))
    elif opened := inflated(parts[at]):
        parts[at] = deflated(replace(opened, body=mutated(random, opened.body, of)))
    else:
        parts[at] = replace(parts[at], body=mutated(random, parts[at].body, of))


def text(random: Random, words: Sequence[str], longest: int) -> str:
    """Words of a dictionary, some repeated many times, with other characters between them."""
    result: list[str] = []
    room = random.choice((20, 20, 60, 60, 200, 400, 1_000, longest))
    while room > 0:
        word = random.choice(words) if random.random() < 0.8 else chr(random.choice(_code_points(random)))
        word *= random.choice((1, 1, 1, 2, 3, 30, 1 + room // max(1, len(word))))
        result.append(word[:room])
        room -= len(word)
        if random.random() < 0.1:
            break
    return "".join(result)


def _code_points(random: Random) -> tuple[int, ...]:
    return (
        random.randrange(128),
        random.randrange(0x250),
        random.randrange(0x10000),
        random.randrange(0x110000),
    )


def _range(random: Random, data: bytes) -> tuple[int, int]:
    at = random.randrange(len(data))
    return at, min(random.choice((1, 2, 4, 8, 32, 256, len(data))), len(data) - at)


def _put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]

"""The files beside an ONNX graph that hold its weights, where these are not in the graph itself.

The engines refuse a file outside of the graph's folder, but read any inside, also one that no checksum covers. So
the names are read from the graph: its protocol buffers are walked, and the weights passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Message of onnx.proto -> number of a field -> message inside it. Others hold no tensors.
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # fields of an entry
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def external_files(graph: Path) -> set[str]:
    """The names of the files, as the graph has them; empty where it holds its weights itself.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a protocol buffer.
    """
    size = graph.stat().st_size
    with graph.open("rb") as file:
        try:
            return set(_locations(file, "model", size))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _locations(file: BinaryIO, message: str, end: int) -> Iterator[str]:
    for number, start, size in _fields(file, end):
        inside = _INSIDE[message].get(number)
        if inside == "entry":
            entry = {field: (at, length) for field, at, length in _fields(file, start + size)}
            if _text(file, *entry.get(_KEY, (start, 0))) == "location":
                yield _text(file, *entry.get(_VALUE, (start, 0)))
        elif inside:
            yield from _locations(file, inside, start + size)
        file.seek(start + size)


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, position, bytes) of each field that has a length, up to `end`; others are passed over."""
    while file.tell() < end:
        tag = _varint(file)
        wire = tag & 7
        if wire == _VARINT:
            _varint(file)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            file.seek(8 if wire == _EIGHT_BYTES else 4, 1)
        elif wire == _BYTES:
            size = _varint(file)
            start = file.tell()
            yield tag >> 3, start, size
            file.seek(start + size)
        else:
            raise ValueError(f"a field of wire type {wire}")
    if file.tell() != end:
        raise ValueError("a field that ends beyond its message")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle of a field")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than ten bytes")


def _text(file: BinaryIO, start: int, size: int) -> str:
    file.seek(start)
    return file.read(min(size, 4_096)).decode(errors="replace")

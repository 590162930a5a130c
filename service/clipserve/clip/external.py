"""Weights outside of an ONNX graph: which files hold them, and how an engine reads a graph's own without a copy.

The engines refuse a file outside of the graph's folder, but read any inside, even one without a checksum.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from clipserve.clip.protobuf import fields, head

# An entry of a tensor's `external_data` in protocol buffers: the key "location", then the length of the name.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])")

# Fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, by number.
_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL_DATA = 7, 5, 9, 13
_IS_EXTERNAL = b"\x70\x01"  # data_location: EXTERNAL
_LARGE_BYTES = 1_000_000  # smaller weights stay in the graph


def external_files(graph: Path) -> set[str]:
    """The names of the files as the graph has them; empty if it contains its weights. May raise OSError."""
    if not graph.stat().st_size:  # an empty file cannot be mapped; an engine will refuse it
        return set()
    with mapped(graph) as data:
        return {_name(data, found) for found in _LOCATION.finditer(data)}


def mapped(graph: Path) -> mmap.mmap:
    """A file that is not empty, in memory to read. May raise OSError, and ValueError for an empty one."""
    with graph.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _name(data: mmap.mmap | bytes, found: re.Match[bytes]) -> str:
    size = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(found[1]))
    return data[found.end() : found.end() + size].decode(errors="replace")


def with_mapped_weights(data: mmap.mmap, location: str, base: int = 0) -> bytes:
    """A graph whose large weights are given as places in the mapped file that it is read from.

    An engine that maps them saves the time and the memory of two copies. `location`: the engine's name for that
    file, in which it begins at `base`. What is mapped must not change: use this only where nothing stays mapped.

    Raises:
        ValueError: it is not a graph, or has weights in other files.
    """
    try:
        graph = b"".join(
            _field(_GRAPH, b"".join(_nodes_and_weights(data, begin, end, location, base)))
            if number == _GRAPH
            else data[at:end]
            for number, at, begin, end in fields(data, 0, len(data))
        )
    except IndexError:
        raise ValueError("the graph is cut short") from None
    if others := {_name(graph, found) for found in _LOCATION.finditer(graph)} - {location}:
        raise ValueError(f"the graph has weights in {min(others)[:100]!r}")
    return graph


def _nodes_and_weights(data: mmap.mmap, begin: int, end: int, location: str, base: int) -> Iterator[bytes]:
    for number, at, begins, ends in fields(data, begin, end):
        if number == _INITIALIZER and ends - begins >= _LARGE_BYTES:
            yield _field(_INITIALIZER, b"".join(_tensor(data, begins, ends, location, base)))
        else:
            yield data[at:ends]


def _tensor(data: mmap.mmap, begin: int, end: int, location: str, base: int) -> Iterator[bytes]:
    for number, at, begins, ends in fields(data, begin, end):
        if number == _RAW_DATA:
            place = {"location": location, "offset": base + begins, "length": ends - begins}
            for key, value in place.items():
                yield _field(_EXTERNAL_DATA, _field(1, key.encode()) + _field(2, str(value).encode()))
            yield _IS_EXTERNAL
        else:
            yield data[at:ends]


def _field(number: int, content: bytes) -> bytes:
    return head(number, len(content)) + content

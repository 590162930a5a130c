"""Weights outside of an ONNX graph: which files hold them.

The engines refuse a file outside of the graph's folder, but read any inside, even one without a checksum.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

# An entry of a tensor's `external_data` in protocol buffers: the key "location", then the length of the name.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])")


def external_files(graph: Path) -> set[str]:
    """The names of the files as the graph has them; empty if it contains its weights. May raise OSError."""
    if not graph.stat().st_size:  # an empty file cannot be mapped; an engine will refuse it
        return set()
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {_name(data, found) for found in _LOCATION.finditer(data)}


def _name(data: mmap.mmap, found: re.Match[bytes]) -> str:
    size = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(found[1]))
    return data[found.end() : found.end() + size].decode(errors="replace")

"""Reads files that somebody else has written, whatever they are and however large."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_bounded(path: str | Path, most: int) -> bytes:
    """Read a file of at most `most` bytes.

    Raises:
        OSError: it is larger (EFBIG), not a regular file, or cannot be read.
        ValueError: no file can have this name.
    """
    with open(regular(path), "rb") as file:
        # Not `most` alone: buffers of that size for many small files would fragment the heap.
        data = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most:,} bytes")
    return data


def regular(path: str | Path) -> str | Path:
    """The path if it is, or links to, a regular file: opening a pipe or a device may block for ever.

    Raises:
        OSError: it is something else, or missing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return path

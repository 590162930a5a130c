"""Reads files that somebody else has written, whatever they are and however large, and replaces our own."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends: whole and on the disk, or not at all.

    Until then its name begins with a dot. Only its owner can read it, unless the block gives others access.

    Raises:
        OSError: for example, the disk is full.
    """
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    sync_folder(path.parent)


def keep_access(file: int, path: Path) -> None:
    """Give an open file the owner, group and mode of the one at the path; 644 if there is none.

    Raises:
        PermissionError: this user cannot.
    """
    if not path.exists():
        os.fchmod(file, 0o644)
        return
    old = path.stat()
    try:
        os.fchown(file, old.st_uid, old.st_gid)
        os.fchmod(file, stat.S_IMODE(old.st_mode))
    except PermissionError as error:
        said = f"user {os.geteuid()} cannot make a file of its owner, user {old.st_uid}, and its group"
        raise PermissionError(error.errno, said) from None


def sync_folder(folder: Path) -> None:
    """Put the names of its files on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)

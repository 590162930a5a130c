"""Files that a command writes for people: never over something else, and whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from clipserve.commands.running import WRONG_USE, fail
from clipserve.files import keep_access, replacing

_HEAD = 300  # bytes, in which every file that a command has written has its mark


def check_output(path: Path, mark: bytes, index: Path, *, force: bool) -> None:
    """End the command if this is no place to write to. `mark`: such files begin with it."""
    if not os.path.isdir(path.parent):
        fail(f"there is no folder {path.parent} for {path.name}.", status=WRONG_USE)
    if os.path.realpath(path) == os.path.realpath(index):
        fail(f"{path} is the index: name another file.", status=WRONG_USE)
    if not os.path.lexists(path):
        return
    if not stat.S_ISREG(os.lstat(path).st_mode):
        fail(f"{path} is a folder, a link or a device: name a regular file.", status=WRONG_USE)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        fail(f"{path}: {error.strerror}.")
    if head and mark not in head and not force:
        fail(f"{path} is a file of another kind: name another one, or --force.", status=WRONG_USE)


def write_output(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write the file, which keeps its owner and mode. Raises OSError, with the path."""
    try:
        with replacing(path) as file:
            keep_access(file.fileno(), path)
            write(file)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from None

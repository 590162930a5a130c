"""Memory of this machine that another process can map: files in `/dev/shm`, with names that cannot be guessed.

When Triton has mapped a file, its name is removed, so that nothing is left of it however the two processes end.
The names of a gateway's regions begin with that of an empty file in the same folder, its `Owner`, which it holds a
lock on. Where that file is unlocked or gone, so is the gateway, and what Triton still has mapped of it may go.
Triton may also know regions of gateways that see another folder, of another machine or container. So a name begins
with what tells the folders apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import shutil
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clipserve.engine.triton.message import Rows, buffers

FOLDER = Path("/dev/shm")  # noqa: S108  not for temporary files: what is here is memory, and files are made with O_EXCL


class Region:
    """Memory that Triton maps. `name`: the one that it is registered by. `size`: its bytes."""

    def __init__(self, name: str, size: int) -> None:
        """Make the file. Raises OSError: there is no such folder, or it is full."""
        self.name, self.size = name, size
        self._path = FOLDER / name
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        weakref.finalize(self, os.close, self._file)
        try:
            # Or to write into a full folder would end the process (SIGBUS).
            os.posix_fallocate(self._file, 0, size)
            self._memory = mmap.mmap(self._file, size)
        except OSError:
            self.remove_file()
            raise

    def remove_file(self) -> None:
        """The memory stays for those who have mapped it."""
        self._path.unlink(missing_ok=True)

    def copy(self, rows: Rows) -> None:
        """Copy rows to its beginning."""
        begin = 0
        for part in buffers(rows):
            end = begin + part.nbytes
            self._memory[begin:end] = part
            begin = end

    def write(self, rows: Rows) -> None:
        """The same for a thread: one call of the system, without the GIL, for twice the CPU time.

        Raises OSError.
        """
        parts = buffers(rows)
        if os.pwritev(self._file, parts, 0) != sum(part.nbytes for part in parts):
            raise OSError(errno.EIO, "the pixels were not written to the end")


def shortage(size: int) -> str:
    """What to tell where the folder has less room than `size` bytes; "": it has."""
    free = shutil.disk_usage(FOLDER).free
    return f"{FOLDER} has {free / 1e6:.0f} MB of the {size / 1e6:.0f} MB needed" if free < size else ""


class Owner:
    """A name for regions, and a file of that name that is locked while this process lives."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.name = f"{_names_here()}{secrets.token_hex(16)}"
        unlocked = FOLDER / f".{self.name}"  # which nobody looks at
        self._file = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(FOLDER / self.name)

    def close(self) -> None:
        (FOLDER / self.name).unlink(missing_ok=True)
        os.close(self._file)


def remove_files_of_killed() -> None:
    """The files of owners that were killed, and of their regions that were on the way to Triton."""
    for path in FOLDER.glob("clipserve-*"):
        if "." in path.name:  # a region's
            continue
        with suppress(OSError), path.open("r+b") as file:  # locked, removed meanwhile, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in FOLDER.glob(f"{path.name}*"):
                left.unlink(missing_ok=True)


def without_owner(names: Iterable[str]) -> list[str]:
    """Those of this folder's regions whose owner has no file; `remove_files_of_killed` has gone before.

    Another gateway may have removed that file, one of another Triton on this machine: so the file of a gateway that
    was killed need not be there to tell of its regions.

    Raises:
        OSError: see `_names_here`.
    """
    here = _names_here()
    return [
        name for name in names if name.startswith(here) and not (FOLDER / name.partition(".")[0]).exists()
    ]


def _names_here() -> str:
    """How the names of this folder's regions begin: another start of a kernel, or another folder, has others.

    Raises:
        OSError: there is no such folder, or the system does not tell its starts apart.
    """
    folder = FOLDER.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    facts = b"%b %d %d" % (boot, folder.st_dev, folder.st_ino)
    return f"clipserve-{hashlib.sha256(facts).hexdigest()[:16]}-"

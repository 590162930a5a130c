"""Mounts and a network that only this process and its children see, and that end with them, however they end.

Podman of root keeps the names and addresses of all containers of the machine in one folder, whatever its storage
is. A run that is killed leaves bridges that are up, and in that folder a file for each network: the address where
aardvark-dns answers, and the names. A later network of the same name gets another address, because the old bridge
holds that one; but netavark adds its names to the old file, so nobody answers at the address that its containers
ask. Such remains are not seen here. Nor do Chromium's tests beside these see bridges come and go, at which it
drops requests.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

# As unshare(2) says; Python has it from 3.12 on.
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
# Podman's state, and its locks: without the first it takes the machine for restarted, and frees all of the second.
_STATE = (Path("/run/containers"), Path("/run/libpod"), Path("/dev/shm"))
# Others have podman's state and network apart anyway.
_ROOT = os.geteuid() == 0


def own_mounts(*others: Path) -> None:
    """Podman's state and `others` are empty folders from now on, with what is written there only in memory.

    Raises:
        OSError: the kernel does not allow it.
        subprocess.CalledProcessError: the same, for the folders.
    """
    if not _ROOT:
        return
    _unshare(_CLONE_NEWNS)
    _run("mount", "--make-rprivate", "/")
    for folder in (*_STATE, *others):
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", folder)


def own_network() -> None:
    """A loopback interface, and no way out: not for other threads and what they start.

    Raises:
        OSError: the kernel does not allow it.
    """
    if not _ROOT:
        return
    _unshare(_CLONE_NEWNET)
    _run("ip", "link", "set", "lo", "up")


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        number = ctypes.get_errno()
        raise OSError(
            number, f"{os.strerror(number)}: root of a container must be privileged to run these tests"
        )


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)

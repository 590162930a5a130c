"""Who listens on a port of this machine, as /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"  # in /proc/net/tcp


@dataclass(frozen=True)
class Listener:
    """A process. `command`: its program, and the module that Python runs; arguments may be secrets."""

    pid: int
    command: str

    @property
    def is_clipserve(self) -> bool:
        return self.command.endswith(" -m clipserve")

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def listener_on(port: int, proc: Path) -> Listener | None:
    """The first process that is found; None where there is none, or it belongs to somebody else."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    if not sockets:
        return None
    processes = (each for each in proc.iterdir() if each.name.isdecimal())
    for process in sorted(processes, key=lambda each: int(each.name)):
        with suppress(OSError):  # it has ended, or is another user's
            if not sockets.isdisjoint(_open_in(process)):
                return Listener(int(process.name), _command(process))
    return None


def _open_in(process: Path) -> Iterator[str]:
    for file in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield os.readlink(file)


def _inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text("utf-8").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _command(process: Path) -> str:
    words = (process / "cmdline").read_text("utf-8", "replace").split("\0")
    name = Path(words[0]).name or process.joinpath("comm").read_text("utf-8", "replace").strip()
    if name.startswith("python") and "-m" in words[:-1]:
        return f"{name} -m {words[words.index('-m') + 1]}"
    return name

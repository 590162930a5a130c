"""Kills a process that changes label sets, at each of its changes of the disk, and checks what is left.

python -m tests.application.label_sets.killed FOLDER prints how often.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from clipserve.application.label_sets.store import Folder

_CHANGES = ("fsync", "replace", "unlink", "mkdir")
_VALUES = {
    name: [f"{name} {number}".encode() * 10_000 for number in (1, 2)] for name in ("pets.json", "pets.npy")
}


async def change(store: Folder) -> None:
    for number in range(2):
        for name, values in _VALUES.items():
            await store.write(name, values[number])
    for name in _VALUES:
        await store.delete([name])


def die_at(call: int) -> None:
    """SIGKILL in place of the change of this number."""
    left = [call]

    def dying(real: Any) -> Any:
        def made(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return made

    for name in _CHANGES:
        setattr(os, name, dying(getattr(os, name)))


async def check(store: Folder) -> None:
    """What is there is whole, and the next write succeeds."""
    for name in await store.listing():
        assert await store.read(name) in _VALUES[name], name
    await store.write("pets.json", b"3")
    assert await store.read("pets.json") == b"3"


def main(root: Path) -> None:
    call, status = 0, -signal.SIGKILL
    while status:
        call += 1
        store = Folder(root / f"{call}" / "label-sets")
        if not (child := os.fork()):
            die_at(call)
            asyncio.run(change(store))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        asyncio.run(check(store))
    print(call - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

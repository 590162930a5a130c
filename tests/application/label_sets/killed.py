"""Kills a process that changes label sets, at each of its changes of the disk, and checks what is left.

python -m tests.application.label_sets.killed FOLDER prints how often.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from clipserve.api.label_sets import LabelFields
from clipserve.application.label_sets.definition import Definition, Record
from clipserve.application.label_sets.store import Folder

_CHANGES = ("fsync", "replace", "unlink", "mkdir")


def record(number: int) -> Record:
    definition = Definition(model="toy", labels=[LabelFields(label=f"{number}")], templates=["{}"])
    return Record(size=number, definition=definition, images={"a": bytes(10_000)})


async def change(store: Folder) -> None:
    for number in (1, 2):
        await store.write("pets.json", record(number).to_bytes())
        await store.write(f"pets.{number}.npy", b"%d" % number * 10_000)
    await store.delete(["pets.1.npy"])
    await store.delete(["pets.json"])
    await store.delete(["pets.2.npy"])


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


async def check(folder: Path) -> None:
    """What is there is whole; embeddings are of a set that was stored before; and the next write succeeds."""
    store = Folder(folder)
    for name in await store.listing():
        value = await store.read(name) or b""
        if name.endswith(".json"):
            found = Record.model_validate_json(value)
            assert found == record(found.size), name
        else:
            assert value == name.split(".")[1].encode() * 10_000, name
    await store.write("pets.json", record(3).to_bytes())
    assert Record.model_validate_json(await store.read("pets.json") or b"") == record(3)


def main(root: Path) -> None:
    call, status = 0, -signal.SIGKILL
    while status:
        call += 1
        folder = root / f"{call}" / "label-sets"
        if not (child := os.fork()):
            die_at(call)
            asyncio.run(change(Folder(folder)))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        asyncio.run(check(folder))
        shutil.rmtree(root / f"{call}")
    print(call - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
